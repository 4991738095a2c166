"""The tasks of repeated games: which games, against whom, for how many rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arena.making import validated
from arena.seeds import scenario_seeds
from arena.task import Task, Vector
from domains.repeated_games import DOMAIN
from domains.repeated_games.games import BOS_10, PD_8
from domains.repeated_games.kernel import Matches, RepeatedGame
from domains.repeated_games.references import references
from domains.repeated_games.scenarios import Pairing, matches, opponents

FROZEN = Path(__file__).parent / "frozen"
ROUNDS = 10


@dataclass(frozen=True)
class Listing:
    """What a task is made of: a row of each list per match.

    groups, clusters: what a match belongs to: names that the board shows, and anything equal for matches that are one to a player without words
    """

    pairings: list[Pairing]
    groups: list[str]
    clusters: list[object]
    rounds: int = ROUNDS


def load(name: str, **parameters: Any) -> Task:
    """The task called `name`. Raises ArenaError `data.missing` where it wants files that are not there."""
    make: Callable[[], Task] = lambda: _made(name)  # noqa: E731
    return make(**validated(make, parameters, f"repeated_games/{name}", "task.parameters"))


def _tiny() -> Listing:
    games = {"PD-8": PD_8, "BoS-10": BOS_10}
    listed = [(game, name, seat) for game in games for name in ("allc", "alld", "tft", "defect-once", "alternator") for seat in (0, 1)]
    pairings = [Pairing(games[game], name, seat, labels="JF", paraphrase=0) for game, name, seat in listed]
    clusters: list[object] = [(game, name, seat if game != "PD-8" else 0) for game, name, seat in listed]
    return Listing(pairings, [game for game, _, _ in listed], clusters)


LISTINGS: dict[str, Callable[[], Listing]] = {"tiny-v1": _tiny}


def _made(name: str) -> Task:
    spec, listing = next(task for task in DOMAIN.tasks if task.name == name), LISTINGS[name]()
    pairings, rounds = listing.pairings, listing.rounds
    known, index = opponents(pairings, rounds)
    domain = RepeatedGame(rounds, known)
    id, n = f"repeated_games/{name}", len(pairings)

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Matches:
        cells = [i % n for i in indices]
        if spec.tier == "tiny":  # what is learned here is judged here
            seeds = scenario_seeds(id, "test", cells)
        return matches([pairings[i] for i in cells], [index[i] for i in cells], rounds, seeds)

    domain.sampler = lambda seeds: draw("train", [seed % n for seed in seeds], seeds)
    groups, group = np.unique(listing.groups, return_inverse=True)
    cluster = {key: float(i) for i, key in enumerate(dict.fromkeys(listing.clusters))}

    def vectors(task: Task) -> dict[str, Vector]:
        return {**references(task), "group": group.astype(np.float64), "cluster": np.array([cluster[key] for key in listing.clusters])}

    vectors.__doc__ = references.__doc__
    return Task(
        id=id,
        domain=domain,
        tier=spec.tier,  # type: ignore[arg-type]
        n=n,
        config={"rounds": rounds, "opponents": sorted({pairing.opponent for pairing in pairings})},
        references=vectors,
        summary=spec.summary,
        draw=draw,
        groups=tuple(map(str, groups)),
        chunk=1024,
        frozen=FROZEN / name,
    )
