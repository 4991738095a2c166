"""The released matches: read as recorded, their faults known, every other fault told with its line; the published figures to the digit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.repeated_games.games import COLUMNS, ROWS, ordinal_games
from domains.repeated_games.recorded import PLACES, PUBLISHED, load_games, load_matches, read_games, read_matches
from domains.repeated_games.recorded_people import bayes_factor, compared, load_people, read_people, replayed
from domains.repeated_games.recorded_policy import load_policy, position, read_policy

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
here = pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")
HEAD = "round,player1,player2,answer1,answer2,points1,points2,total1,total2"
PD = PUBLISHED["pd"]


def csv_of(histories, game="pd", names=("act_gpt4", "act_tft"), labels="JF", head=HEAD, more=()):
    """A file of matches: joint codes [n][T] of a published game. more: columns before `player1`."""
    lines, extra = [head], "".join(f"{value}," for value in more)
    for history in histories:
        sums = np.zeros(2)
        for t, code in enumerate(history):
            points = PUBLISHED[game][code >> 1, code & 1]
            sums += points
            answers = labels[code >> 1], labels[code & 1]
            lines.append(f"{t + 1},{extra}{names[0]},{names[1]},{answers[0]},{answers[1]},{points[0]:g},{points[1]:g},{sums[0]:g},{sums[1]:g}")
    return "\n".join(lines) + "\n"


def refused(path: Path, text: str, games=None) -> ArenaError:
    path.write_text(text)
    with pytest.raises(ArenaError) as caught:
        read_matches(path, games)
    return caught.value


HISTORIES = st.integers(1, 12).flatmap(lambda t: st.lists(st.lists(st.integers(0, 3), min_size=t, max_size=t), min_size=1, max_size=4))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=HISTORIES, game=st.sampled_from(sorted(PUBLISHED)))
def test_what_is_written_is_read(tmp_path, histories, game):
    (tmp_path / "a.csv").write_text(csv_of(histories, game))
    played = read_matches(tmp_path / "a.csv")
    paid = PUBLISHED[game][np.array(histories) >> 1, np.array(histories) & 1]
    assert played.history.tolist() == histories and (played.points == paid).all() and (played.totals == paid.sum(1)).all()
    if len(set(np.array(histories).ravel())) == 4:  # then nothing is left to guess
        assert set(played.game) == {game}
    assert set(played.row) == {"gpt4"} and set(played.column) == {"tft"} and (played.order == -1).all()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.permutations("HR"), listed=st.booleans(), tail=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_the_cooperative_letter_follows_from_the_points(tmp_path, labels, listed, tail):
    head = HEAD.replace("round,", "round,option1,option2,outcomes,")
    options = labels if listed else labels[::-1]
    text = csv_of([[0, 1, 2, 3, *tail]], names=("GPT-4", "Defect_once"), labels=labels, head=head, more=(*options, "coins"))
    (tmp_path / "a.csv").write_text(text)
    played = read_matches(tmp_path / "a.csv")
    assert played.labels[0].tolist() == list(labels) and played.history[0].tolist() == [0, 1, 2, 3, *tail]
    assert (played.order == (0 if listed else 1)).all() and played.unit.tolist() == ["coins"] and played.column.tolist() == ["defect-once"]


def test_bad_files_of_matches_are_told_with_their_line(tmp_path):
    path, good = tmp_path / "a.csv", csv_of([[0, 1, 2], [3, 3, 0]])
    assert len(read_matches(_written(path, good))) == 2
    error = refused(path, good.replace("points2,", "").replace("answer1", "answer"))
    assert error.code == "data.columns" and "answer1, points2" in error.message and "answer," in error.hint
    error = refused(path, good.replace("2,act_gpt4,act_tft,J,F,0,10,8,18", "2,act_gpt4,act_tft,J,F,8,8,16,16"))
    assert error.code == "data.points" and "line 3: points are 8 and 8, should be 0 and 10" in error.message and "J-F" in error.hint
    error = refused(path, good.replace("5,5,10,10", "5,5,10,11"))
    assert error.code == "data.points" and "line 6: totals are 10 and 11, should be 10 and 10" in error.message
    error = refused(path, good.replace("act_tft", "act_gpt5"))
    assert error.code == "unknown.player" and "act_gpt5" in error.message and "act_gpt4" in error.hint and "line 2" in error.hint
    error = refused(path, good.replace("J,F,0,10", "K,F,0,10"))
    assert error.code == "data.values" and "line 3: answer1 is 'K'" in error.message and "J and F" in error.hint
    error = refused(path, good.replace("F,J,10,0,18,18", "F,X,-9999,-9999,-9991,-9981"))
    assert error.code == "data.values" and "line 4: points are -9999" in error.message
    error = refused(path, good.replace("5,5,5,5", "5,five,5,5"))
    assert error.code == "data.values" and "line 5: points2 is 'five'" in error.message
    error = refused(path, good.rsplit("3,act", 1)[0])
    assert "line 6" in error.message and "breaks off" in error.message
    lines = good.splitlines()
    error = refused(path, "\n".join([*lines[:2], *lines[3:]]))
    assert "line 3: round 3 where 2 was due" in error.message
    error = refused(path, "\n".join([*lines[:3], *lines[4:]]))
    assert "line 3: the match breaks off after 2 rounds, others have 3" in error.message
    error = refused(path, good.replace("2,act_gpt4,act_tft,F,F", "99,act_gpt4,act_tft,F,F"))
    assert "line 6: round 99 where 2 was due" in error.message
    error = refused(path, "\n".join([lines[0], *(f"{line}," for line in lines[1:])]))
    assert "line 2: more fields than the 9 columns" in error.message
    error = refused(path, "\n".join([*lines[:2], lines[2].replace("act_tft", "act_j"), *lines[3:]]))
    assert "line 3: player2 changes within a match" in error.message
    assert "no rounds" in refused(path, HEAD + "\n").message
    turned = [",".join(line.split(",")[::-1]) + (".0" if at else "") for at, line in enumerate(lines)]  # as spreadsheets leave it: BOM, CRLF, 1.0
    path.write_bytes(("\ufeff" + "\r\n".join(turned)).encode())
    assert read_matches(path).history.tolist() == [[0, 1, 2], [3, 3, 0]]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArenaError, match="is no table"):
        read_matches(path)
    path.write_text("")
    with pytest.raises(ArenaError, match="is no table"):
        read_matches(path)
    with pytest.raises(ArenaError, match="cannot be read"):
        read_matches(tmp_path / "none.csv")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def games_text(change=lambda number, digits: digits):
    """The list of games, payoffs by the table of games."""
    head = "game_number;game_row;game_col;game_name;game_family;" + ";".join(f"r{r}_c{c}_p{p}" for r in (1, 2) for c in (1, 2) for p in (1, 2))
    place = {(game.row, game.column): game.family for game in ordinal_games()}
    lines = [head]
    for r, row in enumerate(ROWS):
        for c, column in enumerate(COLUMNS):
            number = 12 * r + c + 1
            digits = change(number, [digit for pair in zip(row, column, strict=True) for digit in pair])
            lines.append(";".join([str(number), str(r + 1), str(c + 1), f"Game {number}", place[r, c], *digits]))
    return "\n".join(lines) + "\n"


def refused_games(path, text):
    with pytest.raises(ArenaError) as caught:
        read_games(_written(path, text))
    return caught.value.message


def test_a_match_of_the_144_is_paid_by_the_list(tmp_path):
    games = read_games(_written(tmp_path / "144_games_info.csv", games_text()))
    assert games.ordinal_ok.all() and len(games.number) == 144
    head = "game_number,game_name," + HEAD + ",choice_option1,choice_option2,option_order"
    payoffs = games.payoffs[16]
    rows = [f'17,Game 17,1,act_gpt4,act_llama2,B,N,{payoffs[1, 0, 0]:g},{payoffs[1, 0, 1]:g},{payoffs[1, 0, 0]:g},{payoffs[1, 0, 1]:g},N,B,"[1, 0]"']
    text = "\n".join([head, *rows])
    played = read_matches(_written(tmp_path / "game_17.csv", text), games)
    assert played.history.tolist() == [[2]] and played.game.tolist() == ["17"] and played.order.tolist() == [[1]]
    assert played.labels.tolist() == [["N", "B"]] and (played.payoffs[0] == payoffs).all()
    with pytest.raises(ArenaError, match="144_games_info.csv"):
        read_matches(tmp_path / "game_17.csv")
    assert "game 170 is not in the list" in refused(tmp_path / "game_170.csv", text.replace("17,Game", "170,Game"), games).message
    assert "option_order is '[2, 0]'" in refused(tmp_path / "b.csv", text.replace("[1, 0]", "[2, 0]"), games).message
    assert "second time, first in line 2" in refused(tmp_path / "d.csv", "\n".join([text, *rows]), games).message
    for labels in ("N,N", "N,BB", ",B", "1,2"):
        assert "choice_option1 and choice_option2 are" in refused(tmp_path / "e.csv", text.replace("N,B,\"", f"{labels},\""), games).message
    assert "lists no games" in refused_games(tmp_path / "none.csv", games_text().splitlines()[0])
    wrong = refused(tmp_path / "c.csv", text.replace("B,N,", "N,N,"), games)
    assert wrong.code == "data.points" and "N-N" in wrong.hint


def test_where_files_lie(tmp_path):
    with pytest.raises(ArenaError) as caught:
        load_matches(tmp_path, "pd")
    assert caught.value.code == "data.missing" and "pd/experiment_pd.csv" in caught.value.message and "arena data fetch" in caught.value.hint
    with pytest.raises(ArenaError, match="no data folder"):
        load_games(None)
    for root, what, place in ((tmp_path / "a", "tft", 0), (tmp_path / "b" / "repeated_games", "tft", 0), (tmp_path / "c", "tft", 1)):
        path = root / PLACES[what][place]
        path.parent.mkdir(parents=True)
        path.write_text(csv_of([[0, 0]]))
    assert all(len(load_matches(tmp_path / name, "tft")) == 1 for name in "abc")
    (tmp_path / "a" / "all_games" / "experiments").mkdir(parents=True)
    _written(tmp_path / "a" / PLACES["games"][0], games_text())
    with pytest.raises(ArenaError, match="no game_N.csv"):
        load_matches(tmp_path / "a", "experiments")


# ---- policies --------------------------------------------------------------------------------------------------------


def played_out(policy, other, rounds=10):
    """Moves of the policy and of `other(own past, policy's past)`, as letters."""
    mine, theirs = [], []
    for t in range(rounds):
        entry = int(position(np.array([theirs + [0] * rounds], np.int8), np.array([t]))[0])
        move, answer = int(policy[entry]), other(theirs, mine)
        mine.append(move)
        theirs.append(answer)
    return "".join("JF"[m] for m in mine), mine, theirs


def points_of(game, mine, theirs):
    paid = PUBLISHED[game][np.array(mine), np.array(theirs)].sum(0)
    return tuple(int(x) for x in paid)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 1), max_size=9))
def test_a_past_has_its_own_entry(past):
    entry = position(np.array([past + [-1] * (10 - len(past))], np.int8), np.array([len(past)]))[0]
    assert entry == 2 ** len(past) - 1 + int("".join(map(str, past)) or "0", 2)


def test_bad_policies_are_refused(tmp_path):
    keys = ["", *(format(code, f"0{n}b").replace("0", "J").replace("1", "F") for n in range(1, 10) for code in range(2**n))]
    table = {key: "F" if key.endswith("F") else "J" for key in keys}
    path = tmp_path / "pd_gpt4_lookup.json"
    assert read_policy(_written(path, json.dumps(table)))[:7].tolist() == [0, 0, 1, 0, 1, 0, 1]
    for change, said in (
        ({k: v for k, v in table.items() if k != "JF"}, "1,022 entries; 'JF'"),
        ({**table, "JJJJJJJJJJ": "J"}, "1,024 entries"),
        ({**table, "FJ": "K"}, "after 'FJ' it plays 'K'"),
        ([1], "is no table"),
    ):
        with pytest.raises(ArenaError, match=said):
            read_policy(_written(path, json.dumps(change)))
    with pytest.raises(ArenaError, match="no JSON"):
        read_policy(_written(path, "{"))
    with pytest.raises(ArenaError) as caught:
        load_policy(tmp_path, "chicken", "base")
    assert caught.value.code == "unknown.game"


@here
def test_the_recorded_policies_play_as_recorded():
    base, scot = ({game: load_policy(DATA, game, variant) for game in ("pd", "bos")} for variant in ("base", "scot"))
    assert all(len(policy) == 1023 and policy.dtype == np.uint8 for policy in (*base.values(), *scot.values()))
    moves, mine, theirs = played_out(scot["pd"], lambda own, other: int(not own))
    assert moves == "JFFFFFFFFF" and points_of("pd", mine, theirs) == (90, 10)
    moves, mine, theirs = played_out(base["pd"], lambda own, other: other[-1] if other else 0)
    assert moves == "J" * 10 and points_of("pd", mine, theirs) == (80, 80)
    moves, mine, theirs = played_out(base["bos"], lambda own, other: len(own) % 2)
    assert moves == "J" * 10 and points_of("bos-10-7", mine, theirs) == (50, 35)
    moves, mine, theirs = played_out(base["bos"], lambda own, other: 1)
    assert moves == "JJJJJFFFFF" and points_of("bos-10-7", mine, theirs) == (35, 50)


# ---- people ----------------------------------------------------------------------------------------------------------


def people_text(count=2):
    lines = ["id,game,action,score,opponent,guess,coordination"]
    for person in range(1, count + 1):
        for game, scores in (("PD", (5, 8)), ("BoS", (10, 7))):
            lines += [f"{person},{game},{t % 2},{scores[t % 2]},{'Base' if person % 2 else 'Prompted'},Human,0" for t in range(10)]
    return "\n".join(lines) + "\n"


def test_bad_files_of_people_are_told_with_their_line(tmp_path):
    path, good = tmp_path / "repgames.csv", people_text()
    people = read_people(_written(path, good))
    assert people.scot.tolist() == [False, True] and people.odd == () and people.met.mean(2).tolist() == [[0.5, 1.0]] * 2
    assert people.actions[0, 0].tolist() == [1, 0] * 5 and people.history[0].tolist() == [[3, 0] * 5] * 2
    for old, new, said in (
        ("guess", "guesses", "lacks column guess"),
        ("1,PD,1,8", "1,PD,1,9", "line 3: score is 9"),
        ("1,PD,1,8", "1,PD,2,8", "line 3: action is '2'"),
        ("1,PD,0,5", "1,Chicken,0,5", "line 2: game is 'Chicken'"),
        ("1,PD,0,5", "7,PD,0,5", "person 1 has 9 rows of PD"),
        ("Base", "Claude", "line 2: opponent is 'Claude'"),
        ("Base,Human", "Base,LLM", "line 2: guess changes within a match"),
        ("1,PD,0,5,Base", "1,PD,0,5,Prompted", "line 2: opponent changes"),
    ):
        with pytest.raises(ArenaError, match=said):
            read_people(_written(path, good.replace(old, new, 1)))
    assert read_people(_written(path, good.replace("1,PD,0,5", "1,PD,0,0", 1))).odd == (2,)  # told, and kept
    with pytest.raises(ArenaError, match="holds no people"):
        read_people(_written(path, good.splitlines()[0]))


def test_the_bayes_factor_is_that_of_the_integral():
    """Against a plain sum over effect sizes, and its limits: no difference speaks for equality, a large one against it."""
    from scipy.stats import cauchy, nct, t, ttest_ind

    rng = np.random.default_rng(0)
    more, less = rng.normal(0.5, 1, 30), rng.normal(0, 1, 40)
    found, weight = ttest_ind(more, less).statistic, 30 * 40 / 70
    sizes = np.linspace(0, 6, 60_001)[:-1] + 5e-5
    area = (nct.pdf(found, 68, sizes * np.sqrt(weight)) * 2 * cauchy.pdf(sizes, scale=np.sqrt(0.5))).sum() * 1e-4
    assert bayes_factor(more, less) == pytest.approx(area / t.pdf(found, 68), rel=1e-3)
    assert bayes_factor(less, less + 0) < 0.5 < 100 < bayes_factor(less + 3, less)


@here
def test_the_figures_of_people():
    people = load_people(DATA)
    assert len(people.id) == 195 and people.scot.sum() == 98 and people.odd == (334, 339, 750, 3061)
    found = compared(people)
    bos, met, pd, both, human = (
        found[name] for name in ("BoS score", "BoS coordination", "PD score", "PD mutual cooperation", "took it for a human")
    )
    assert (round(bos.base, 2), round(bos.base_se, 3), round(bos.scot, 2), round(bos.scot_se, 3)) == (4.34, 0.154, 5.08, 0.145)
    assert (round(met.base, 3), round(met.scot, 3)) == (0.542, 0.622)
    assert (round(pd.base, 2), round(pd.scot, 2)) == (6.11, 6.21) and (round(both.base, 3), round(both.scot, 3)) == (0.373, 0.363)
    published = {"BoS score": 80.6, "PD score": 0.2, "took it for a human": 17.6, "BoS coordination": 13.4}
    for name, value in published.items():
        assert found[name].bayes == pytest.approx(value, abs=0.1), name
    assert human.scot > human.base
    policies = {(game, scot): load_policy(DATA, game, "scot" if scot else "base") for game in ("pd", "bos") for scot in (False, True)}
    same = replayed(people, policies)
    assert same[:, :, 0].all() and (~same).sum() == 561  # what people met is not quite what was released
