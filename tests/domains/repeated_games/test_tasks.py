"""The tasks of repeated games: frozen as drawn, their anchors the known totals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from arena import registry, settings
from arena.errors import ArenaError
from arena.scoring.anchor import flat_scenarios
from domains.repeated_games import DOMAIN
from domains.repeated_games.games import DIAGONALS, FAMILIES, ordinal_games
from domains.repeated_games.kernel import CrossPlay, Matches, RepeatedGame
from domains.repeated_games.opponents import ANY_GAME, CLASSICS
from domains.repeated_games.tasks import RELATIVES, load

REAL = Path(__file__).parents[3] / ".." / "shared" / "data"
NAMES = [spec.name for spec in DOMAIN.tasks if not spec.needs]
RANKED = [spec.name for spec in DOMAIN.tasks if spec.ranked]
# against allc, alld, tft, defect-once, alternator: uniform random play, best response (both seats of PD-8 alike)
PD_8 = [(90, 100), (25, 50), (60.75, 82), (83.5, 95), (57.5, 75)]
BOS_10 = [[(50, 100), (35, 70), (43.25, 100), (48.5, 97), (42.5, 85)], [(35, 70), (50, 100), (41.75, 90), (36.5, 73), (42.5, 85)]]


def scenarios(name: str) -> Matches:
    found = registry.task(f"repeated_games/{name}").scenarios
    assert isinstance(found, Matches)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_is_what_is_drawn(name: str) -> None:
    task = registry.task(f"repeated_games/{name}")
    assert task.digest and task.frozen is not None and task.frozen.with_suffix(".json").is_file()
    assert task.vectors["group"].max() == len(task.groups) - 1
    if name != "axelrod-v1":  # half a minute; a sample in test_references
        again = task.computed_vectors()
        assert all(np.allclose(again[key], vector, rtol=1e-12, atol=1e-12) for key, vector in task.vectors.items())


@pytest.mark.parametrize("name", RANKED)
def test_ranked_tasks_have_a_gap_everywhere_and_enough_matches(name: str) -> None:
    task = registry.task(f"repeated_games/{name}")
    assert task.bounded and task.normalise == "scenario" and task.n >= 100
    assert not flat_scenarios(task.vectors["ref0"], task.vectors["ref1"], 1, task.vectors["group"])


def test_the_anchors_of_tiny_are_the_known_ones() -> None:
    task = registry.task("repeated_games/tiny-v1")
    found = np.stack((task.vectors["ref0"], task.vectors["ref1"]), 1).reshape(2, 5, 2, 2)  # game, opponent, seat, reference
    assert found[0] == pytest.approx(np.array(PD_8)[:, None].repeat(2, 1), abs=1e-12)
    assert found[1] == pytest.approx(np.array(BOS_10).swapaxes(0, 1), abs=1e-12)
    assert len(set(task.vectors["cluster"])) == 15, "seats of the symmetric game are one match"
    train = task.sample("train", [0, 25])
    assert all(torch.equal(tensor, scenarios("tiny-v1")[[0, 5]].tensors()[key]) for key, tensor in train.tensors().items())


def test_the_144_games_each_meet_every_opponent() -> None:
    task, drawn = registry.task("repeated_games/144-v1"), scenarios("144-v1")
    assert isinstance(task.domain, RepeatedGame)
    names = [task.domain.opponents.names[place] for place in drawn.opponent.tolist()]
    met = Counter(zip(map(tuple, drawn.payoffs.flatten(1).tolist()), names, strict=True))
    assert len(met) == 1728 and {name for _, name in met} == set(ANY_GAME) and not drawn.seat.any()
    gap = task.vectors["ref1"] - task.vectors["ref0"]
    assert gap.min() > 2.6 and np.median(gap) == pytest.approx(10, abs=0.01) and set(task.groups) == set(FAMILIES)
    sizes = Counter(task.groups[int(g)] for g in task.vectors["group"])
    assert sizes == {name: 12 * n for name, n in Counter(game.family for game in ordinal_games()).items()}


def test_the_long_task_meets_thirty_strategies_steady_and_trembling() -> None:
    task, drawn = registry.task("repeated_games/axelrod-v1"), scenarios("axelrod-v1")
    assert task.config["opponents"] == list(CLASSICS) and len(CLASSICS) == 30
    assert drawn.luck.shape == (1800, 200) and drawn.slip.shape == (1800, 200, 2)
    shares = drawn.slip.double().mean((1, 2)).view(3, 600).mean(1).tolist()
    assert shares[0] == 0 and shares[1:] == pytest.approx([0.01, 0.05], rel=0.05)
    clusters = task.vectors["cluster"].reshape(3, 30, 20)
    tft, joss = CLASSICS.index("tft"), CLASSICS.index("joss")
    assert len(set(clusters[0, tft])) == 1 and len(set(clusters[1, tft])) == len(set(clusters[0, joss])) == 20


def test_wordings_share_opponent_and_luck() -> None:
    task, drawn = registry.task("repeated_games/pd-unforgiving-v1"), scenarios("pd-unforgiving-v1")
    luck = drawn.luck.view(5, 10, 10)
    assert all(torch.equal(luck[0], luck[k]) for k in range(1, 5)) and len({tuple(row.tolist()) for row in luck[0]}) == 10
    assert task.config["opponents"] == ["defect-once", "allc", "alld", *RELATIVES] and len(set(task.vectors["cluster"])) == 10
    assert drawn.labels.view(5, 10, 2)[:, 0].tolist() == [[9, 5], [9, 5], [16, 23], [17, 7], [16, 23]], "JF, JF, QX, RH, QX: C first"
    assert drawn.order.view(5, 100)[:, 0].tolist() == [0, 1, 0, 1, 0] and drawn.framing.view(5, 10)[:, 0].tolist() == [0, 0, 1, 2, 3]


def test_battles_of_the_sexes_come_with_labels_swapped() -> None:
    task, drawn = registry.task("repeated_games/bos-alternation-v1"), scenarios("bos-alternation-v1")
    assert drawn.payoffs[::8, 0, 0].tolist() == [list(diagonal) for diagonal in DIAGONALS]
    assert drawn.labels[::2].tolist() == [[9, 5]] * 20 and drawn.labels[1::2].tolist() == [[5, 9]] * 20
    assert len(set(task.vectors["cluster"])) == 20 and task.vectors["ref1"][:8].tolist() == [85] * 4 + [100, 100, 70, 70]


def test_the_small_task_has_both_seats_of_two_games_of_each_family() -> None:
    task, drawn = registry.task("repeated_games/llm-small-v1"), scenarios("llm-small-v1")
    assert Counter(task.groups[int(g)] for g in task.vectors["group"]) == dict.fromkeys(FAMILIES, 24) and int(drawn.seat.sum()) == 84


def test_cross_play_is_of_two_roles_and_its_anchors_are_minmax_and_bargain() -> None:
    task = registry.task("repeated_games/crossplay-v1")
    assert isinstance(task.domain, CrossPlay) and task.candidates == ("row", "column") and task.normalise == "task" and not task.bounded
    v, slugs = task.vectors, task.config["games"]
    assert sum(game.symmetric for game in ordinal_games() if game.slug in slugs) == 12 and len(slugs) == 19
    prisoners = slugs.index("og-1324-4321")
    assert [v[key][prisoners] for key in ("ref0", "ref1", "ref0_column", "ref1_column")] == [20, 30, 20, 30]
    assert (v["ref1"] >= v["ref0"]).all() and (v["ref1_column"] >= v["ref0_column"]).all()
    assert task.domain.gap == pytest.approx(((v["ref1"] - v["ref0"]).mean(), (v["ref1_column"] - v["ref0_column"]).mean()))


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ArenaError) as error:
        load("tiny-v1", rounds=5)
    assert error.value.code == "task.parameters"


def test_recorded_players_are_missed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings._flags, "data", str(tmp_path))
    with pytest.raises(ArenaError) as error:
        load("replay-v1")
    assert error.value.code == "data.missing" and "arena data fetch" in str(error.value)


@pytest.mark.skipif(not (REAL / "repeated_games" / "human_experiment").is_dir(), reason="the released matches are not here")
def test_recorded_gpt4_is_beaten_as_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings._flags, "data", str(REAL))
    task = load("replay-v1")
    assert task.digest, "the tables are those that were frozen"
    again = task.computed_vectors()
    assert again["ref0"] == pytest.approx([55.621, 39.130, 35.360, 42.553], abs=5e-4) and again["ref1"].tolist() == [82, 82, 70, 90]
    with pytest.raises(ArenaError, match="no matches to train on"):
        task.sample("train", [0])
