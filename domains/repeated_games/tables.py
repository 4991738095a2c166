"""The tables of the released matches, from the csv files: `python -m domains.repeated_games.tables FOLDER`.

FOLDER is a data root, the folder `repeated_games` in it, or a checkout of the repository.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arena.errors import ArenaError
from domains.repeated_games.behaviour import behaviour
from domains.repeated_games.recorded import Games, Played, load_games, load_matches
from domains.repeated_games.recorded_people import compared, load_people

FAMILIES = ("Win-win", "PD Family", "Tragic", "Second Best", "Biased", "Cyclic", "Unfair", "all")
MODELS = ("gpt4", "claude2", "claude1", "gpt35", "llama2")
PD_PAIRS = (
    ("gpt4", "gpt4"), ("gpt4", "allc"), ("gpt4", "alld"), ("gpt4", "defect-once"), ("claude", "gpt4"), ("claude", "claude"), ("gpt35", "gpt35"),
)  # fmt: skip
TFT_PAIRS = tuple(("gpt4", name) for name in ("tft", "tf2t", "stft", "reverse-tft", "released-htft"))
BOS_PAIRS = (("gpt4", "alternator"), ("gpt4-scot", "alternator"), ("gpt4", "gpt4"), ("gpt4-scot", "gpt4-scot"), ("gpt4", "alld"))
PD_SHARES, BOS_SHARES = ("gpt4", "gpt35", "gpt3", "llama2", "claude"), ("gpt4", "gpt3", "llama2", "gpt35", "claude")
MOST = 4  # points of a round in the 144 games


@dataclass(frozen=True)
class FamilyRow:
    """Scores in a family: total / (rounds * 4), mean over matches and both seats, by model and of all; what both got of the most they could."""

    games: int
    models: dict[str, float]
    mean: float
    welfare_share: float


def families(games: Games, played: Played) -> dict[str, FamilyRow]:
    """One row per family of FAMILIES that was played."""
    at = games.where(played.game.astype(np.int64))
    rounds = played.history.shape[1]
    scores, most = played.totals / (rounds * MOST), rounds * played.payoffs.sum(-1).max((1, 2))
    shares = played.totals.sum(1) / most
    found = {}
    for family in FAMILIES:
        here = np.full(len(played), True) if family == "all" else games.family[at] == family
        if not here.any():
            continue
        models = {
            name: float(np.concatenate([scores[here & (names == name), seat] for seat, names in enumerate((played.row, played.column))]).mean())
            for name in MODELS
        }
        found[family] = FamilyRow(len(set(played.game[here])), models, float(scores[here].mean()), float(shares[here].mean()))
    return found


def seats(games: Games, played: Played) -> dict[str, tuple[float, float]]:
    """Mean scores of seat 1 and seat 2, which was shown other payoffs than it was paid: in all games, in those that are strict ordinal."""
    scores, sound = played.totals / (played.history.shape[1] * MOST), games.ordinal_ok[games.where(played.game.astype(np.int64))]
    return {name: (float(scores[here, 0].mean()), float(scores[here, 1].mean())) for name, here in (("all", sound | True), ("strict ordinal", sound))}


def totals(played: Played, pairs: Sequence[tuple[str, str]], rounds: int | None = None) -> dict[tuple[str, str], tuple[int, int]]:
    """Points of (row, column) after the first rounds of their match (none given: all)."""
    found = {}
    for row, column in pairs:
        first, second = played.between(row, column).points[0, :rounds].sum(0)
        found[row, column] = int(first), int(second)
    return found


def variants(parts: Sequence[Played]) -> Counter[tuple[int, int]]:
    """How many of the variants ended with these points."""
    return Counter((int(first), int(second)) for part in parts for first, second in part.totals)


def shares(played: Played, name: str) -> tuple[float, float, float]:
    """P(action 0) of a player over all its matches: in the row seat, in the column seat, in both."""
    row, column = (played.history[played.row == name] >> 1 == 0), (played.history[played.column == name] & 1 == 0)
    return float(row.mean()), float(column.mean()), float(np.concatenate([row, column]).mean())


def unforgiving(played: Played, row: str = "gpt4") -> float:
    """Share of D from round 3 on against who defects once."""
    history = torch.from_numpy(played.between(row, "defect-once").history)
    return behaviour(history)["unforgiving"].pooled


def coordinated(played: Played, row: str, column: str) -> int:
    """Rounds in which both chose the same action."""
    return int(np.isin(played.between(row, column).history, (0, 3)).sum())


def report(root: Path) -> str:
    """All tables as text. Raises ArenaError `data.*` where files are absent or wrong."""
    games, played = load_games(root), load_matches(root, "experiments")
    lines = [f"Scores in the 144 games: total / 40, both seats ({len(set(played.game))} games, {len(played):,} matches)"]
    lines.append(f"{'family':16}" + "".join(f"{name:>9}" for name in (*MODELS, "mean", "welfare")))
    for family, row in families(games, played).items():
        values = (*row.models.values(), row.mean, row.welfare_share)
        lines.append(f"{f'{family} ({row.games})':16}" + "".join(f"{value:9.3f}" for value in values))
    if len(set(played.game)) == len(games.number):  # only the whole table of games looks alike from both seats
        for name, (first, second) in seats(games, played).items():
            lines.append(f"seat 1 {first:.3f}, seat 2 {second:.3f} ({name}; seat 2 was shown its off-diagonal payoffs exchanged)")
    pd, tft, bos = (load_matches(root, name) for name in ("pd", "tft", "bos"))
    for title, part, pairs, rounds in (
        ("Prisoner's dilemma, points of row/column", pd, PD_PAIRS, None),
        ("The same after round 10 of 20", tft, TFT_PAIRS, 10),
        ("Battle of the sexes", bos, BOS_PAIRS, None),
    ):
        lines += ["", title, *(f"  {row}-{column}: {a}/{b}" for (row, column), (a, b) in totals(part, pairs, rounds).items())]
    lines.append(f"  rounds of 10 in which they met: gpt4-alternator {coordinated(bos, 'gpt4', 'alternator')}")
    lines += ["", f"Against one defection: gpt4 defects in {unforgiving(pd):.0%} of rounds 3 to 10; in other words and letters it ends at"]
    found = variants([load_matches(root, f"pd-{framing}") for framing in ("project", "cooking", "game")])
    lines.append("  " + ", ".join(f"{a}/{b} in {count}" for (a, b), count in found.most_common()) + f" of {found.total()} variants")
    lines += ["", "Share of J: prisoner's dilemma; battle of the sexes in seat 1/seat 2"]
    lines.append("  " + ", ".join(f"{name} {shares(pd, name)[2]:.3f}" for name in PD_SHARES))
    lines.append("  " + ", ".join(f"{name} {shares(bos, name)[0]:.2f}/{shares(bos, name)[1]:.2f}" for name in BOS_SHARES))
    lines += ["", "People against base GPT-4 and against SCoT: mean (standard error between people), Bayes factor for more against equal"]
    for what, both in compared(load_people(root)).items():
        lines.append(f"  {what}: {both.base:.3f} ({both.base_se:.3f}), {both.scot:.3f} ({both.scot_se:.3f}), {both.bayes:.2f}")
    return "\n".join(lines)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(report(Path(sys.argv[1])))
    except ArenaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
