"""The published tables of the released matches, to the printed digit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from arena.errors import ArenaError
from domains.repeated_games.games import COLUMNS, ROWS, canonical, ordinal_games
from domains.repeated_games.recorded import PLACES, find, joined, load_games, load_matches
from domains.repeated_games.tables import (
    BOS_PAIRS,
    FAMILIES,
    MODELS,
    PD_PAIRS,
    TFT_PAIRS,
    coordinated,
    families,
    main,
    seats,
    shares,
    totals,
    unforgiving,
    variants,
)  # fmt: skip

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
here = pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")

TABLE = """
Win-win .932 .804 .871 .802 .916 .865 .865
PD_Family .750 .759 .694 .760 .710 .735 .862
Tragic .630 .711 .663 .611 .491 .621 .912
Second_Best .685 .753 .682 .637 .487 .649 .865
Biased .725 .794 .731 .748 .624 .724 .828
Cyclic .709 .735 .677 .696 .589 .681 .902
Unfair .725 .740 .718 .723 .608 .703 .905
all .767 .774 .749 .736 .676 .740 .863
"""


@here
def test_the_table_of_families_to_the_printed_digit():
    games, played = load_games(DATA), load_matches(DATA, "experiments")
    if len(set(played.game)) != 120:
        pytest.skip("the figures are those of 120 games")
    found = families(games, played)
    assert tuple(found) == FAMILIES
    for line in TABLE.split("\n")[1:-1]:
        family, *values = line.replace("_", " ", line.count("_")).rsplit(maxsplit=7)
        row = found[family]
        assert tuple(row.models) == MODELS
        assert [*row.models.values(), row.mean, row.welfare_share] == pytest.approx([float(x) for x in values], abs=5e-4), family
    assert [found[family].games for family in FAMILIES] == [30, 6, 6, 12, 40, 12, 14, 120]
    assert seats(games, played)["all"][0] > seats(games, played)["all"][1]


@here
def test_the_released_list_lacks_fifteen_games_and_has_no_other_fault():
    games = load_games(DATA)
    odd = games.number[~games.ordinal_ok].tolist()
    assert odd == [*range(17, 25), 58, 59, 60, 83, 84, 95, 96]
    ranks = games.payoffs.reshape(-1, 4, 2).astype(int)
    there = {
        canonical(tuple(first), tuple(second)) for first, second in zip(ranks[games.ordinal_ok, :, 0], ranks[games.ordinal_ok, :, 1], strict=True)
    }
    lacking = {(game.first, game.second) for game in ordinal_games()} - there
    meant = [(ROWS[games.row[i - 1] - 1], COLUMNS[games.column[i - 1] - 1]) for i in odd]
    assert {canonical(*(tuple(map(int, digits)) for digits in pair)) for pair in meant} == lacking and len(lacking) == 15
    changed = ranks[~games.ordinal_ok].transpose(0, 2, 1) != np.array([[list(map(int, digits)) for digits in pair] for pair in meant])
    assert (changed.sum((1, 2)) == 1).all()  # one cell each: undoing it gives the game that lacks
    families_of = {(game.row + 1, game.column + 1): game.family for game in ordinal_games()}
    assert [families_of[place] for place in zip(games.row.tolist(), games.column.tolist(), strict=True)] == games.family.tolist()


@here
def test_the_totals_of_pairs():
    pd, bos, tft = (load_matches(DATA, name) for name in ("pd", "bos", "tft"))
    assert list(totals(pd, PD_PAIRS).values()) == [(80, 80), (80, 80), (45, 55), (90, 10), (68, 38), (53, 53), (77, 77)]
    assert tft.history.shape[1] == 20 and list(totals(tft, TFT_PAIRS, 10).values()) == [(80, 80), (80, 80), (50, 50), (51, 61), (45, 55)]
    assert list(totals(bos, BOS_PAIRS).values()) == [(50, 35), (71, 65), (42, 60), (100, 70), (42, 60)]
    assert coordinated(bos, "gpt4", "alternator") == 5 and unforgiving(pd) == 1.0
    found = variants([load_matches(DATA, f"pd-{framing}") for framing in ("project", "cooking", "game")])
    assert found == {(90, 10): 14, (88, 18): 8, (91, 21): 3, (76, 66): 2}
    assert [round(shares(pd, name)[2], 2) for name in ("gpt4", "gpt35", "gpt3", "llama2")] == [0.59, 0.54, 1.0, 1.0]
    assert shares(pd, "claude")[2] == 0.125
    seen = {name: tuple(round(x, 2) for x in shares(bos, name)[:2]) for name in ("gpt4", "gpt3", "llama2", "gpt35", "claude")}
    assert seen == {"gpt4": (0.79, 0.08), "gpt3": (1.0, 1.0), "llama2": (1.0, 1.0), "gpt35": (0.98, 0.32), "claude": (0.88, 0.27)}


@here
def test_the_variants_name_the_letters_and_players_that_the_points_say():
    letters = {framing: set(load_matches(DATA, f"pd-{framing}").labels[:, 0]) for framing in ("project", "cooking", "game")}
    assert letters == {"project": {"J", "Q", "H"}, "cooking": {"J", "Q", "R"}, "game": {"J", "Q", "R"}}
    bos = joined([load_matches(DATA, f"bos-{framing}") for framing in ("project", "cooking", "game")])
    assert set(bos.column) == {"alternator"} and len(bos) == 27
    with pytest.raises(ArenaError) as caught:
        bos.between("gpt4", "defect-once")
    assert caught.value.code == "unknown.player"


@here
def test_one_command_prints_all_tables_from_either_layout(tmp_path, monkeypatch, capsys):
    for what, places in PLACES.items():
        source = find(DATA, what)
        if what == "experiments":
            (tmp_path / places[0]).mkdir(parents=True)
            source, target = source / "game_1.csv", tmp_path / places[0] / "game_1.csv"
        else:
            target = tmp_path / places[-1]  # as in a checkout
            target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    monkeypatch.setattr("sys.argv", ["tables", str(tmp_path)])
    assert main() == 0
    said = capsys.readouterr().out
    assert "(1 games, 25 matches)" in said and "90/10 in 14, 88/18 in 8, 91/21 in 3, 76/66 in 2 of 27" in said and "BoS score: 4.340 (0.154)" in said
    (tmp_path / PLACES["bos"][0]).unlink()
    assert main() == 2 and "experiment_bos.csv" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["tables"])
    assert main() == 2
