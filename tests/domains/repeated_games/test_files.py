"""Folders of released matches: known faults are told and pass, any other makes a file wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from arena.errors import ArenaError
from domains.repeated_games.files import check_folder

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "repeated_games"
here = pytest.mark.skipif(not DATA.is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")
HEAD = "round,player1,player2,answer1,answer2,points1,points2,total1,total2\n"
POINTS = {"JJ": (8, 8), "JF": (0, 10), "FJ": (10, 0), "FF": (5, 5)}


def found(folder: Path) -> dict[str, tuple[str, bool, int, str]]:
    return {str(r.path.relative_to(folder)): (r.kind, r.ok, r.rows, r.message) for r in check_folder(folder)}


def match(names, first, second):
    """Lines of one match of the Prisoner's Dilemma from both players' letters."""
    lines, sums = [], [0, 0]
    for t, pair in enumerate(zip(first, second, strict=True), 1):
        points = POINTS["".join(pair)]
        sums = [a + b for a, b in zip(sums, points, strict=True)]
        lines.append(",".join(map(str, (t, *names, *pair, *points, *sums))) + "\n")
    return "".join(lines)


@here
def test_the_shared_files_are_right_and_their_known_faults_are_told():
    reports = found(DATA)
    assert all(ok for _, ok, _, _ in reports.values()), [message for _, ok, _, message in reports.values() if not ok]
    kinds = [kind for kind, _, _, _ in reports.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"games": 1, "matches": 129, "people": 1, "policy": 4, "answers": 2, "other": 2}
    said = {name: message for name, (_, _, _, message) in reports.items()}
    assert "15 are not strict ordinal, kept as recorded: 17-24, 58-60, 83-84, 95-96" in said["all_games/144_games_info.csv"]
    games = [message for name, message in said.items() if "/game_" in name]
    assert all("seat 2 was shown its off-diagonal payoffs exchanged" in message for message in games)
    assert [name for name, message in said.items() if "never won more than 3 of 4" in message] == ["all_games/experiments/game_43.csv"]
    assert "not strict ordinal" in said["all_games/experiments/game_17.csv"] and "ordinal" not in said["all_games/experiments/game_16.csv"]
    people = said["human_experiment/repgames.csv"]
    assert "lines 334, 339, 750, 3061; kept" in people and "in 561 rounds the other's move is not that of the policy" in people
    assert said["pd/tft/pd_base_gpt4_tfts.csv"].endswith(
        "released-htft begins 10 matches with moves remembered from the last one; tf2t begins 1 match with moves remembered from the last one; "
        "released-htft opens with F, not with J as its description says"
    )
    assert "both seats mixed in 3" in said["bos/player_answers_list.json"]


@here
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "all_games/144_games_info.csv",
            "1;1;1;Hegemony;Unfair;3;4",
            "1;1;1;Hegemony;Unfair;4;4",
            "line 2: game 1 does not pay each player the ranks",
        ),
        ("all_games/144_games_info.csv", "1;1;1;Hegemony;Unfair", "1;1;1;Hegemony;Biased", "line 2: game 1 is called Biased; by its equilibria"),
        ("all_games/144_games_info.csv", "1;1;1;Hegemony;", "1;1;2;Hegemony;", "line 2: game 1 is not the one of row 1, column 2"),
        ("all_games/144_games_info.csv", "1;1;1;Hegemony;", "1;1;13;Hegemony;", "line 2: game 1 stands in row 1, column 13 of a table of 12"),
        ("all_games/144_games_info.csv", "144;12;12;", "145;12;12;", "lacks game 144"),
        ("all_games/144_games_info.csv", "r2_c2_p2", "r2_c2", "lacks column r2_c2_p2"),
        ("all_games/144_games_info.csv", "2;1;2;Samar", "1;1;2;Samar", "line 3: game 1 is out of order"),
        ("all_games/experiments/game_1.csv", "B,N,4,2,4,2", "B,N,4,3,4,3", "line 2: points are 4 and 3, should be 4 and 2; B-N"),
        ("pd/player_answers_list.json", '"act_j": [["J"', '"act_j": [["F"', "the answers of allc are not those of experiment_pd.csv"),
        ("human_experiment/repgames.csv", "2,PD,0,10", "2,PD,1,10", "action and score disagree .1 such lines"),
        ("pd/tft/pd_base_gpt4_tfts.csv", "4,act_tft,act_tft,J,J,8,8,32,32", "4,act_tft,act_tft,F,J,10,0,34,24", "should be"),
        ("human_experiment/pd_gpt4_lookup.json", '"J": "J"', '"J": "A"', "after 'J' it plays 'A'"),
    ],
)
def test_a_fault_that_is_not_known_makes_a_file_wrong(tmp_path, name, old, new, said):
    for part in {"all_games/144_games_info.csv", "pd/experiment_pd.csv", name}:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / part, tmp_path / part)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    reports = found(tmp_path)
    kind, ok, _, message = reports.pop(name)
    assert not ok and kind != "other"
    assert re.search(said, message), message
    assert all(ok for _, ok, _, _ in reports.values())


def test_strategies_must_play_by_their_rules(tmp_path):
    cooperates, (names, odd) = match(("act_j", "act_tft"), "JJJJ", "JJJJ"), (("act_f", "act_tft"), ("FFFF", "JFJF"))
    (tmp_path / "pd_own.csv").write_text(HEAD + cooperates + match(names, "FFFF", "JFFF"))
    assert found(tmp_path)["pd_own.csv"] == ("matches", True, 2, "2 matches of 4 rounds")
    (tmp_path / "pd_own.csv").write_text(HEAD + cooperates + match(names, *odd))
    _, ok, rows, message = found(tmp_path)["pd_own.csv"]
    assert not ok and rows == 2 and message.endswith("line 8: tft, in seat 2, does not play by its rule in round 3")
    (tmp_path / "pd_own.csv").write_text("\ufeff" + HEAD.replace("round,player1", '"player1",round') + cooperates.replace("1,act_j", "act_j,1"))
    assert found(tmp_path)["pd_own.csv"][0] == "matches", "known by its columns, quoted and behind a BOM, too"
    (tmp_path / "pd_own.csv").write_text(HEAD + 2 * cooperates)
    assert "the match of allc and tft is there for the second time" in found(tmp_path)["pd_own.csv"][3]
    # what hard tit for tat remembers of another match excuses its second round, and no other
    (tmp_path / "pd_own.csv").write_text(HEAD + match(("act_htft", "act_j"), "FFJJ", "JJJJ"))
    assert "begins 1 match with moves remembered" in found(tmp_path)["pd_own.csv"][3] and found(tmp_path)["pd_own.csv"][1]
    (tmp_path / "pd_own.csv").write_text(HEAD + match(("act_htft", "act_j"), "FJFJ", "JJJJ"))
    assert not found(tmp_path)["pd_own.csv"][1]


def test_lists_of_answers_mix_the_seats_of_a_player_that_meets_itself(tmp_path):
    folder = tmp_path / "pd"
    folder.mkdir()
    (folder / "experiment_pd.csv").write_text(HEAD + match(("act_gpt4", "act_gpt4"), "JF", "FF") + match(("act_gpt4", "act_j"), "FF", "JJ"))
    answers = {"act_gpt4": [["J", "F"], ["F", "F"], ["F", "F"]], "act_j": [["J", "J"]]}
    (folder / "player_answers_list.json").write_text(json.dumps(answers))
    assert found(folder)["player_answers_list.json"][:3] == ("answers", True, 4)
    answers["act_gpt4"][0] = ["F", "J"]
    (folder / "player_answers_list.json").write_text(json.dumps(answers))
    assert "the answers of gpt4 are not" in found(folder)["player_answers_list.json"][3]
    (folder / "experiment_pd.csv").unlink()
    assert "no experiment_pd.csv beside it" in found(folder)["player_answers_list.json"][3]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / "best_known.csv").write_text("instance,best_known\na280,2579\n")
    (tmp_path / "game_1.csv").write_text("a,b\n1,2\n")
    reports = found(tmp_path)
    assert reports["notes.md"][:2] == reports["best_known.csv"][:2] == ("other", True)
    assert not reports["game_1.csv"][1] and "lacks columns round" in reports["game_1.csv"][3]
    with pytest.raises(ArenaError, match="is not a folder"):
        check_folder(tmp_path / "none")
