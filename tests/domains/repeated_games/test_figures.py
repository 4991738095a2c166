"""Figures show what happened: their numbers against matches, scores and rates worked out another way."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from arena import registry, settings
from arena.errors import ArenaError
from arena.rollout import replay
from domains.repeated_games import figures_recorded, pictures
from domains.repeated_games.behaviour import behaviour
from domains.repeated_games.figures import draw, draw_agent, draw_task
from domains.repeated_games.figures_agent import AGAINST_ONCE, AGAINST_TURNS, by_game, by_strategy, recorded
from domains.repeated_games.figures_episode import efficient, view
from domains.repeated_games.figures_style import game_name, look
from domains.repeated_games.games import BOS_10, PD_8, bimatrix, ordinal_games
from domains.repeated_games.recorded import load_games, load_matches
from domains.repeated_games.recorded_people import compared, load_people
from domains.repeated_games.tables import families

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason="the released matches are not there: arena data fetch repeated_games")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def unforgiving():
    return registry.task("repeated_games/pd-unforgiving-v1")


def played(task, actions):
    """Metrics by name [n] of these actions [T, n]."""
    return {name: np.asarray(values) for name, values in replay(task.domain, task.scenarios, {"player": actions}).items()}


def always(task, action):
    return np.full((task.domain.horizon, task.n), action, np.int8)


def trace(figure, name):
    (found,) = [trace for trace in figure.data if trace.name and trace.name.startswith(name)]
    return found


# ---- one match ----------------------------------------------------------------------------------------------------------


def test_the_strip_has_both_players_moves_and_what_they_earned(unforgiving):
    moves = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], np.int8)  # grim against who defects once
    figure = draw(unforgiving, 0, {"player": moves})["rounds"]
    strip = next(trace for trace in figure.data if trace.type == "heatmap")
    assert strip.z.tolist() == [moves.tolist(), [1] + [0] * 9]
    assert [cell for row in strip.text for cell in row][:3] == ["J<br>0", "F<br>10", "F<br>10"]
    assert trace(figure, "this agent").y.tolist() == [0, *range(10, 100, 10)] and trace(figure, "defect-once").y.tolist() == [10] * 10
    assert trace(figure, "best reply").y[0] == 95 and trace(figure, "random play").y[0] == 83.5
    assert "90 to 10" in figure.layout.title.text and "JFFFFFFFFF" in figure.layout.meta["alt"]


def test_the_column_player_sees_the_game_from_its_side():
    task = registry.task("repeated_games/tiny-v1")
    seats = task.scenarios.seat.tolist()
    index = next(i for i in range(task.n) if seats[i] == 1 and game_name(task.scenarios.payoffs[i]) == "BoS-10")
    seen = view(task, index, {"player": np.zeros(10, np.int8)})
    assert seen.payoffs[0, 0].tolist() == [7, 10] and seen.points[:, 0].sum() == played(task, always(task, 0))["return"][index]


def test_trembling_hands_are_marked():
    task = registry.task("repeated_games/axelrod-v1")
    slip = task.scenarios.slip
    index = int(slip.any(2).sum(1).argmax())
    figure = draw(task, index, {"player": np.zeros(200, np.int8)})["rounds"]
    marks = trace(figure, "hand trembled")
    own = sorted(marks.x[marks.y < 1])
    assert own == (slip[index, :, int(task.scenarios.seat[index])].nonzero()[:, 0] + 1).tolist() and len(marks.x) == int(slip[index].sum())


def test_the_game_has_its_cells_marked(unforgiving):
    figure = draw(unforgiving, 0, {"player": np.ones(10, np.int8)})["game"]
    cells = {name: {(round(x), int(y)) for x, y in zip(mark.x, mark.y, strict=True)} for mark in figure.data if (name := mark.name)}
    assert cells == {"pure Nash equilibrium": {(1, 1)}, "Pareto-efficient": {(0, 0), (1, 0), (0, 1)}, "Nash bargaining cell": {(0, 0)}}
    (words,) = [mark.text for mark in figure.data if mark.mode == "text"]
    assert [text.split("played ")[1] for text in words] == ["0×", "0×", "9×", "1×"]
    assert efficient(bimatrix((1, 1, 2, 2), (1, 2, 1, 2))).tolist() == [[False, False], [False, True]]


def test_actions_of_another_length_are_refused(unforgiving):
    with pytest.raises(ArenaError) as error:
        draw(unforgiving, 0, {"player": np.zeros(9, np.int8)})
    assert error.value.code == "figure.actions"


def test_two_agents_are_drawn_as_row_and_column():
    task = registry.task("repeated_games/crossplay-v1")
    figure = draw(task, 0, {"row": np.zeros(10, np.int8), "column": np.ones(10, np.int8)})["rounds"]
    total = task.scenarios.payoffs[0, 0, 1] * 10
    assert trace(figure, "row").y[-1] == total[0] and trace(figure, "column").y[-1] == total[1]
    with pytest.raises(ArenaError, match="Games"):
        draw_task(task, {"a": {}})


# ---- agents on a task -----------------------------------------------------------------------------------------------------


def test_scores_and_rates_are_means_over_groups(unforgiving):
    agents = {name: played(unforgiving, always(unforgiving, action)) for name, action in (("c", 0), ("d", 1))}
    found = draw_task(unforgiving, agents)
    assert list(found) == ["groups", "fingerprints", "habits", "wording", "defect-once"]
    low, high = unforgiving.vectors["ref0"], unforgiving.vectors["ref1"]
    score = (agents["d"]["return"] - low) / (high - low)
    bars = trace(found["groups"], "d")
    assert bars.x[0] == pytest.approx(score.mean())
    group = unforgiving.groups.index("J or F")
    place = [row.startswith("J or F") for row in bars.y].index(True)
    assert bars.x[place] == pytest.approx(score[unforgiving.vectors["group"] == group].mean())
    assert (bars.x - bars.error_x.arrayminus <= bars.x).all() and bars.error_x.array.max() > 0
    assert trace(found["defect-once"], "d").x.tolist() == [1] * 5 and trace(found["defect-once"], "c").x.tolist() == [0] * 5
    fingerprint = trace(found["fingerprints"], "c")  # who never defects has never been in the other two situations
    assert fingerprint.x.tolist() == [1, 1] and fingerprint.meta["rows"] == ["P(C | CC)", "P(C | CD)"]


def test_what_failed_counts_as_the_floor_and_in_no_rate(unforgiving):
    metrics = played(unforgiving, always(unforgiving, 0))
    failed = {name: np.where(np.arange(50) < 10, np.nan, values) for name, values in metrics.items()}
    found = draw_task(unforgiving, {"c": failed})
    low, high = unforgiving.vectors["ref0"], unforgiving.vectors["ref1"]
    expected = (((metrics["return"] - low) / (high - low))[10:].sum() + 10 * unforgiving.floor) / 50
    assert trace(found["groups"], "c").x[0] == pytest.approx(expected)
    assert trace(found["habits"], "c").x[0] == 1
    assert [row for row in trace(found["wording"], "c").meta["rows"]] == [name for name in unforgiving.groups if name != "J or F"]


def test_metrics_of_another_length_are_refused(unforgiving):
    with pytest.raises(ArenaError) as error:
        draw_task(unforgiving, {"a": {"return": np.zeros(3)}})
    assert error.value.code == "figure.metrics"


def test_alternation_is_drawn_by_diagonal():
    task = registry.task("repeated_games/bos-alternation-v1")
    actions = always(task, 0)
    actions[1::2] = 1
    found = draw_task(task, {"turns": played(task, actions)})
    assert trace(found["alternation"], "turns").x.tolist() == [1] * 5
    of = draw_agent(task, "turns", played(task, actions), {"player": actions})
    strip = next(trace for trace in of[AGAINST_TURNS].data if trace.type == "heatmap")
    assert strip.z[0].tolist() == [0, 3] * 5 and len(strip.z) == 20
    letters = trace(of["words"], "turns")
    assert letters.x.tolist()[:2] == [0.5, 0.5] and letters.meta["rows"][:2] == ["F names it", "J names it"]


# ---- one agent ------------------------------------------------------------------------------------------------------------


def test_the_table_of_games_has_every_score_at_its_place():
    task = registry.task("repeated_games/144-v1")
    metrics = {"score": np.arange(task.n, dtype=np.float64)}
    scores = by_game(task, metrics)
    for game in ordinal_games()[::17]:
        mine = (task.scenarios.payoffs == game.payoffs).flatten(1).all(1).numpy()
        assert mine.sum() == 12 and scores[game.row, game.column] == metrics["score"][mine].mean()
    assert np.isfinite(scores).all()
    assert by_game(registry.task("repeated_games/tiny-v1"), {"score": np.zeros(20)}) is None


def test_one_agents_matches(unforgiving):
    actions = always(unforgiving, 1)
    metrics = played(unforgiving, actions)
    figures = draw_agent(unforgiving, "d", metrics, {"player": actions})
    assert list(figures) == [AGAINST_ONCE, "strategies", "words"]
    strip = next(trace for trace in figures[AGAINST_ONCE].data if trace.type == "heatmap")
    assert strip.z.tolist() == [[3] + [2] * 9] * 5
    fits = by_strategy(unforgiving, recorded(unforgiving, metrics, {"player": actions}))
    assert list(trace(figures["strategies"], "alld").x) == [fit.weights[1].item() for fit in fits.values()]
    assert min(trace(figures["strategies"], "alld").x) > 0.99
    failed = {name: np.full(50, np.nan) for name in metrics}
    assert draw_agent(unforgiving, "d", failed, {"player": actions}) == {}


def test_no_two_look_alike():
    assert len({tuple(look(kind).values()) for kind in range(24)}) == 24


def test_games_have_their_names():
    assert game_name(PD_8) == "PD-8" and game_name(BOS_10) == "BoS-10" and game_name(bimatrix((8, 9, 9, 8), (9, 8, 8, 9))) == "2x2 game"
    assert all(game_name(game.payoffs) == f"{game.slug} ({game.family})" for game in ordinal_games()[::29])


# ---- the released matches -------------------------------------------------------------------------------------------------


@needs_data
def test_pictures_of_the_released_matches_have_the_published_numbers(tmp_path, capsys):
    found = pictures.pictures(DATA)
    games, matches = load_games(DATA), load_matches(DATA, "experiments")
    rows = families(games, matches)
    bars = trace(found["families"], "gpt4")
    assert bars.x == pytest.approx([row.models["gpt4"] for row in rows.values()]) and bars.x[-1] == pytest.approx(0.767, abs=5e-4)
    z = found["games-llama2"].data[0].z
    assert np.isfinite(z).sum() == 120
    pd = load_matches(DATA, "pd")
    matrix = found["players-pd"]
    names = list(matrix.layout.yaxis.ticktext)
    assert matrix.data[0].z[names.index("gpt4")][names.index("defect-once")] == pytest.approx(0.90)
    rates = behaviour(figures_recorded.matches_of(pd, "gpt35"))
    assert trace(found["fingerprints"], "gpt35").x[0] == pytest.approx(rates["after_cc"].pooled)
    strip = next(trace for trace in found["defect-once"].data if trace.type == "heatmap")
    assert strip.z[0].tolist() == [1] + [2] * 9 and "gpt4 with defect-once: 90/10" in found["defect-once"].layout.yaxis.ticktext
    assert "gpt4-scot with alternator: 71/65" in found["alternation"].layout.yaxis.ticktext
    people = compared(load_people(DATA))
    assert trace(found["people-bos"], "97 people").y.mean() == pytest.approx(people["BoS score"].base)
    assert trace(found["people-pd"], "98 people").y.mean() == pytest.approx(people["PD score"].scot)
    assert trace(found["wordings"], "gpt4").x[:3].mean() == pytest.approx(0.193, abs=1e-3)  # framings have nine variants each
    assert all(figure.layout.meta["alt"] for figure in found.values())


@needs_data
def test_agents_stand_beside_the_people(monkeypatch):
    settings.override(data=DATA)
    try:
        task = registry.task("repeated_games/replay-v1")
        metrics = played(task, always(task, 1))
        figure = draw_task(task, {"f": metrics})["people"]
    finally:
        settings._flags.clear()
    assert trace(figure, "f").x.tolist() == (metrics["return"] / 10).tolist()
    means = [mark.x[0] for mark in figure.data if mark.name == "people: mean (95 %)"]
    both = compared(load_people(DATA))
    assert means == pytest.approx([both["PD score"].base, both["PD score"].scot, both["BoS score"].base, both["BoS score"].scot])


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert pictures.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "144_games_info.csv" in capsys.readouterr().err and not (tmp_path / "out").exists()
