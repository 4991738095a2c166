"""Matches of 200 rounds beside Axelrod-Python: a field of ten automata, every ordered pair, both players strategies, all history kept.

    python -m benchmarks.repeated_games

Axelrod-Python is no dependency of the platform. Where it can be imported, both play the same pairs in one process, by turns, and must agree on
every pair that no luck decides. Axelrod plays as in its tournaments (`Match.play`), players made beforehand; ours are drawn beforehand, and the
step does all that a run asks of it: legality, pay, record. One thread, CPU seconds, the best of each.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch

from domains.repeated_games.bench import FIELD, ROUNDS, one_thread, played, world

PEER = "axelrod"
INSTALL = (
    "Axelrod-Python is not here; to compare, in an environment of its own beside this package: pip install --no-deps axelrod==4.14.0 && "
    "pip install 'dask<2026' toolz cloudpickle prompt_toolkit pyparsing tqdm (torch, pandas and matplotlib are here already)"
)
GOAL = 150.0  # times Axelrod's rate
BATCHES = (2000, 4000, 16_000)
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "allc": ("Cooperator", {}),
    "alld": ("Defector", {}),
    "random": ("Random", {}),
    "tft": ("TitForTat", {}),
    "stft": ("SuspiciousTitForTat", {}),
    "gtft": ("GTFT", {}),
    "wsls": ("WinStayLoseShift", {}),
    "grim": ("Grudger", {}),
    "tf2t": ("TitFor2Tats", {}),
    "joss": ("FirstByJoss", {}),
}
LUCKY = ("random", "gtft", "joss")


@dataclass(frozen=True)
class Result:
    """A line of the table: matches per second of both."""

    what: str
    ours: float
    peer: float | None

    def __str__(self) -> str:
        line = f"{self.what:28s} {self.ours:14,.0f}"
        if self.peer is None:
            return line
        return f"{line} {self.peer:14,.0f} {self.ours / self.peer:8.1f}  goal {GOAL:.0f}: {'met' if self.ours >= GOAL * self.peer else 'missed'}"


def field(batches: tuple[int, ...] = BATCHES, repeats: int = 4) -> list[Result]:
    """Matches per second. Raises RuntimeError where the two disagree on a pair without luck."""
    ways: list[Callable[[], float]] = []
    for count in batches:
        domain, scenario, candidates = world(count)

        def ours(domain: Any = domain, scenario: Any = scenario, candidates: Any = candidates) -> float:
            start = process_time()
            played(domain, scenario, candidates)
            return process_time() - start

        ways.append(ours)
    pairs = [(one, other) for one in FIELD for other in FIELD]
    if importlib.util.find_spec(PEER):
        theirs, totals = axelrod_field(pairs)
        agree(pairs, totals)
        ways.append(theirs)
    best = [min(times) for times in zip(*([way() for way in ways] for _ in range(repeats + 1)), strict=True)]
    peer = len(pairs) / best[-1] if len(best) > len(batches) else None
    return [Result(f"{count:,} matches at once", count / taken, peer) for count, taken in zip(batches, best, strict=False)]


def axelrod_field(pairs: list[tuple[str, str]]) -> tuple[Callable[[], float], dict[tuple[str, str], tuple[float, float]]]:
    """A timed play of every pair, and their totals from a first one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import axelrod  # type: ignore[import-not-found, unused-ignore]

    def player(name: str) -> Any:
        kind, parameters = CLASSES[name]
        return getattr(axelrod, kind)(**parameters)

    players = [(player(one), player(other)) for one, other in pairs]

    def play() -> list[Any]:
        matches = [axelrod.Match(pair, turns=ROUNDS, seed=1) for pair in players]  # made anew: an old one remembers what it played
        for match in matches:
            match.play()
        return matches

    def timed() -> float:
        start = process_time()
        play()
        return process_time() - start

    scores = [match.final_score() for match in play()]
    return timed, {pair: (float(one), float(other)) for pair, (one, other) in zip(pairs, scores, strict=True)}


def agree(pairs: list[tuple[str, str]], totals: dict[tuple[str, str], tuple[float, float]]) -> None:
    """Raises RuntimeError unless our totals are Axelrod's wherever no luck decides."""
    state = played(*world(len(pairs)))
    for place, pair in enumerate(pairs):
        mine = tuple(state.totals[place].tolist())
        if not set(pair) & set(LUCKY) and mine != totals[pair]:
            raise RuntimeError(f"{pair[0]} against {pair[1]}: {mine} here, {totals[pair]} in Axelrod-Python")


def main() -> None:
    known = importlib.util.find_spec(PEER) is not None
    print(f"torch {torch.__version__}" + (f", Axelrod-Python {importlib.metadata.version(PEER)}" if known else f"\n{INSTALL}"))
    print(f"\n{'':28s} {'here, /s':>14s} {'Axelrod, /s':>14s} {'ratio':>8s}")
    with one_thread(), torch.no_grad():
        for result in field():
            print(result)


if __name__ == "__main__":
    main()
