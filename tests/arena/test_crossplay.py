"""Cross-play: matches of two agents are stored, resumed, verified and shared as runs; what one fails is not the other's; ratings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_domains import entrant, village
from toy_matches import Roshambo, roshambo

from arena import registry, settings
from arena.bundle import export_runs, import_bundle
from arena.cli.payoffs import pool_digest, rate_pool, read_payoffs
from arena.engines import Inline, Work
from arena.errors import ArenaError
from arena.evaluation import execute, request, stored_candidate, stored_opponent
from arena.integrity import verify
from arena.store import open_store
from arena.worker import Worker

PURE = ("toy-rock", "toy-paper", "toy-scissors")


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as opened:
        yield opened


def match(store, row, column, task=None, seed=0, chunk=None):
    task = task or roshambo()
    row, column = registry.candidate(row), registry.candidate(column)
    return execute(store, request(store, task, row, seed, chunk, opponent=column), task, row, opponent=column)


def round_robin(store, names, task=None, seeds=1):
    return [match(store, row, column, task, seed) for seed in range(seeds) for row in names for column in names]


def scores(store, run):
    return store.metric_vectors(next(e for e in store.entries(run.id) if e.candidate).id)


def cells(found):
    return {(pair["row"], pair["column"]): pair for pair in found["pairs"]}


# ---- the matrix ------------------------------------------------------------------------------------------------------


def test_rock_paper_scissors(kept):
    runs = round_robin(kept, PURE)
    task = roshambo()
    assert [run.status for run in runs] == ["complete"] * 9 and not any(run.ranked for run in runs)
    assert kept.board(task.id) == [], "no match stands on a board"
    assert [[e.role for e in kept.entries(run.id)] for run in runs] == [["row", "column"]] * 9
    assert all(verify(kept, run.id, task).ok for run in runs) and all(kept.run_row(run.id).verified for run in runs)
    assert rate_pool(kept, 1) is None
    found = read_payoffs(kept, 1)
    beats = {("toy-paper", "toy-rock"), ("toy-scissors", "toy-paper"), ("toy-rock", "toy-scissors")}
    for (row, column), pair in cells(found).items():
        wanted = 0.0 if row == column else 1.0 if (row, column) in beats else -1.0
        assert (pair["score"], pair["lo"], pair["hi"], pair["matches"], pair["void"]) == (wanted, wanted, wanted, 12, 0)
        assert pair["verified"] and pair["unfinished"] == 0
    for agent in found["agents"]:
        assert (agent["mean"], agent["lo"], agent["hi"], agent["self_play"], agent["games"]) == (0.0, 0.0, 0.0, 0.0, 48)
        assert agent["rating"] == pytest.approx(1000, abs=1e-3) and agent["rating_lo"] <= agent["rating"] + 1e-3
    assert (found["reference"], found["unrated"], found["stale"], found["few"]) == ("toy-paper@1", None, False, True)


def test_who_wins_more_is_rated_higher_and_the_pool_decides(kept):
    round_robin(kept, ["toy-paper", "toy-rock", "toy-shuffler"], seeds=3)
    assert rate_pool(kept, 1) is None
    found = read_payoffs(kept, 1)
    rating = {agent["agent"]: agent["rating"] for agent in found["agents"]}
    assert rating["toy-paper"] == 1000 > rating["toy-shuffler"] > rating["toy-rock"]
    assert [agent["agent"] for agent in found["agents"]][0] == "toy-paper", "the highest mean comes first"
    shuffled = next(agent for agent in found["agents"] if agent["agent"] == "toy-shuffler")
    pair = cells(found)["toy-shuffler", "toy-paper"]
    assert shuffled["games"] == 2 * 2 * 3 * 12 and pair["matches"] == 36 and len(pair["runs"]) == 3 and pair["lo"] < pair["score"] < pair["hi"]
    mine = [cells(found)["toy-shuffler", other]["score"] for other in ("toy-paper", "toy-rock")]
    assert shuffled["mean"] == pytest.approx(np.mean(mine)) and shuffled["lo"] < shuffled["mean"] < shuffled["hi"]
    two = [agent["agent_id"] for agent in found["agents"] if agent["agent"] != "toy-paper"]
    assert read_payoffs(kept, 1, two)["unrated"] == "arena crossplay -t roshambo/tiny-v1", "another pool has other ratings"
    assert rate_pool(kept, 1, two) is None
    again = read_payoffs(kept, 1, two)
    assert again["reference"] == "toy-rock@1" and read_payoffs(kept, 1)["agents"] == found["agents"]
    match(kept, "toy-paper", "toy-rock", seed=3)
    assert read_payoffs(kept, 1)["stale"] and not read_payoffs(kept, 1, two)["stale"]


def test_numbers_do_not_depend_on_the_order_of_play(kept, tmp_path):
    names = ["toy-paper", "toy-shuffler", "toy-rock"]
    round_robin(kept, names, seeds=2)
    with open_store(None, tmp_path / "other") as other:
        for seed in (1, 0):
            for row in reversed(names):
                for column in names:
                    match(other, row, column, seed=seed, chunk=5)
        found = []
        for store in (kept, other):
            assert rate_pool(store, 1) is None
            read = read_payoffs(store, 1)
            found.append(
                [{k: v for k, v in line.items() if not k.endswith("_id") and k != "runs"} for line in (*read["agents"], *read["pairs"])]
            )
        pools = [pool_digest(store.task(1), store.agent_rows([1, 2, 3]).values()) for store in (kept, other)]
        draws = [[line["draws"].tobytes() for line in sorted(store.ratings(1, pools[0]), key=lambda line: line["agent"])] for store in (kept, other)]
    assert found[0] == found[1] and pools[0] == pools[1] and draws[0] == draws[1] and len(draws[0]) == 3


def test_a_task_without_winners_has_no_ratings(kept):
    task = replace(roshambo(outcome=""), id="roshambo/nobody-wins-v1")
    round_robin(kept, PURE[:2], task)
    assert "declares no winner" in str(rate_pool(kept, 1))
    found = read_payoffs(kept, 1)
    assert "declares no winner" in found["unrated"] and found["outcome"] is None and found["reference"] is None
    assert [agent["rating"] for agent in found["agents"]] == [None, None] and [agent["mean"] for agent in found["agents"]] == [1.0, -1.0]


def test_a_pool_that_falls_apart_or_is_not_complete(kept):
    match(kept, "toy-rock", "toy-rock")
    assert rate_pool(kept, 1) == "one agent alone is not rated"
    (agent,) = read_payoffs(kept, 1)["agents"]
    assert (agent["mean"], agent["self_play"], agent["games"]) == (None, 0.0, 0)
    match(kept, "toy-paper", "toy-paper")
    assert rate_pool(kept, 1) == "no match of two different agents is complete"
    match(kept, "toy-paper", "toy-scissors")
    assert "no games connect" in str(rate_pool(kept, 1))
    found = read_payoffs(kept, 1)
    assert all(agent["mean"] is None for agent in found["agents"]) and cells(found)["toy-rock", "toy-paper"]["score"] is None


def test_an_outcome_that_is_none(kept):
    task = replace(roshambo(), outcome="points")
    round_robin(kept, PURE[:2], task)
    with pytest.raises(ArenaError, match="points of roshambo/tiny-v1 is -") as caught:
        rate_pool(kept, 1)
    assert caught.value.code == "rating.outcome"


# ---- whose failure it is -----------------------------------------------------------------------------------------------


def test_what_the_opponent_fails_is_void_and_lost_by_it(kept):
    task = roshambo()
    run = match(kept, "toy-rock", "toy-quitter")
    row, column = kept.entries(run.id)
    assert (row.failures, column.failures) == (0, 4)
    assert {(f["entry_id"], f["scenario"], f["code"]) for f in kept.failures(run.id)} == {(column.id, i, "agent.illegal") for i in (0, 3, 6, 9)}
    found = scores(kept, run)
    void = np.arange(12) % 3 == 0
    assert all(np.isnan(vector[void]).all() and (vector[~void] == (0.5 if name == "result" else 0)).all() for name, vector in found.items())
    assert verify(kept, run.id, task).ok
    round_robin(kept, ["toy-rock", "toy-quitter"])
    assert rate_pool(kept, 1) is None
    pairs = cells(read_payoffs(kept, 1))
    assert (pairs["toy-rock", "toy-quitter"]["void"], pairs["toy-rock", "toy-quitter"]["score"]) == (4, 0.0)
    assert (pairs["toy-quitter", "toy-rock"]["void"], pairs["toy-quitter", "toy-rock"]["failed"]) == (0, 0)
    rating = {agent["agent"]: agent["rating"] for agent in read_payoffs(kept, 1)["agents"]}
    assert rating["toy-rock"] - rating["toy-quitter"] == pytest.approx(57.9, abs=1.0)  # 14 of 24 won: 400 log10(14/10) = 58.5 without ridge
    own = match(kept, "toy-quitter", "toy-quitter")
    assert kept.entries(own.id)[0].failures == 4 and (scores(kept, own)["score"][void] == task.floor).all(), "against itself it is its own"
    assert verify(kept, own.id, task).ok


def test_what_the_agent_itself_fails_is_its_floor_and_a_loss(kept):
    refuses = registry.candidate("toy-quitter")
    task = replace(roshambo(), candidates=("column", "row"))
    rock = registry.candidate("toy-rock")
    run = execute(kept, request(kept, task, refuses, opponent=rock), task, refuses, opponent=rock)
    found = scores(kept, run)
    lost = np.arange(12) % 3 == 0
    assert (found["score"][lost] == -1).all() and np.isnan(found["result"][lost]).all() and (found["score"][~lost] == 0).all()
    assert rate_pool(kept, 1) is None
    rating = {agent["agent"]: agent["rating"] for agent in read_payoffs(kept, 1)["agents"]}
    assert rating["toy-rock"] > rating["toy-quitter"] == 1000


def test_an_opponent_that_breaks_down_is_given_up_on_resuming_too(kept):
    task, rock, breaker = roshambo(15), registry.candidate("toy-rock"), registry.candidate("toy-breaker")
    run = request(kept, task, rock, opponent=breaker)

    def stop(progress):
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(kept, run, task, rock, stop, opponent=breaker)
    assert 0 < kept.run_row(run.id).n_done < 5
    execute(kept, run, task, stored_candidate(kept, run.id), opponent=stored_opponent(kept, kept.run_row(run.id)))
    whole = execute(kept, request(kept, task, rock, seed=1, opponent=breaker), task, rock, opponent=breaker)
    for done in (kept.run_row(run.id), whole):
        row, column = kept.entries(done.id)
        codes = [f["code"] for f in kept.failures(done.id)]
        assert (row.failures, column.failures, codes) == (0, 15, ["agent.crash"] * 9 + ["agent.gave_up"] * 6)
        assert all(np.isnan(vector).all() for vector in scores(kept, done).values())
        assert verify(kept, done.id, task).ok
    assert cells(read_payoffs(kept, 1))["toy-rock", "toy-breaker"]["score"] is None


# ---- matches as runs -----------------------------------------------------------------------------------------------------


def test_the_same_match_is_the_same_run_and_none_of_the_board(kept):
    task, rock, paper = roshambo(), registry.candidate("toy-rock"), registry.candidate("toy-paper")
    first = request(kept, task, rock, opponent=paper)
    assert request(kept, task, rock, opponent=paper, chunk=2).id == first.id
    others = [request(kept, task, paper, opponent=rock), request(kept, task, rock, opponent=rock), request(kept, task, rock, seed=1, opponent=paper)]
    board = request(kept, task, rock)
    assert len({first.id, board.id, *(run.id for run in others)}) == 5
    assert board.ranked and stored_opponent(kept, board) is None
    assert stored_opponent(kept, others[1]).name == "toy-rock" and stored_opponent(kept, first).name == "toy-paper"


def test_a_worker_plays_queued_matches(kept, with_roshambo):
    task = registry.task("roshambo/tiny-v1")
    for row in PURE[:2]:
        for column in PURE[:2]:
            request(kept, task, registry.candidate(row), opponent=registry.candidate(column))
    begun = []
    done = Worker(kept, Inline(), begin=lambda run, task, agent: begun.append(agent)).run(once=True)
    assert [run["status"] for run in done["runs"]] == ["complete"] * 4 and "toy-rock against toy-paper" in begun
    assert cells(read_payoffs(kept, 1))["toy-paper", "toy-rock"]["score"] == 1.0


def test_a_match_travels_to_workers(with_roshambo, monkeypatch):
    monkeypatch.setattr(settings, "_flags", {})  # a worker takes over the settings of who sent it, for good
    work = Work("one", registry.task("roshambo/tiny-v1"), registry.candidate("toy-rock"), 0, "cpu", registry.candidate("toy-paper"))
    there = work.packed.unpack()
    assert (there.candidate.name, there.opponent.name) == ("toy-rock", "toy-paper")
    assert Work("two", work.task, work.candidate, 0, "cpu").packed.unpack().opponent is None


def test_matches_are_shared_and_count_where_they_arrive(kept, tmp_path, with_roshambo):
    task = registry.task("roshambo/tiny-v1")
    runs = round_robin(kept, ["toy-rock", "toy-quitter"], task)
    export_runs(kept, [run.id for run in runs], tmp_path / "x.arena.zip")
    rate_pool(kept, 1)
    here = read_payoffs(kept, 1)
    with open_store(None, tmp_path / "other") as other:
        assert len(import_bundle(other, tmp_path / "x.arena.zip").runs) == 4
        assert all(verify(other, number, task).ok for number in range(1, 5)) and other.board(task.id) == []
        there = read_payoffs(other, 1)
    assert [pair["score"] for pair in there["pairs"]] == [pair["score"] for pair in here["pairs"]]
    assert [pair["void"] for pair in there["pairs"]] == [pair["void"] for pair in here["pairs"]] and sum(pair["void"] for pair in here["pairs"]) == 4


# ---- tasks ---------------------------------------------------------------------------------------------------------------


def test_which_tasks_have_matches(kept):
    assert roshambo().pair == ("row", "column") and replace(roshambo(outcome=""), candidates=("row",), fill={"column": "toy-rock"}).pair is None
    both = village(("planner", "worker"), {})
    assert both.pair is None, "workers are many"
    agent = entrant("x", lambda obs, brief, step: 0)
    with pytest.raises(ArenaError, match="seats no two agents against each other"):
        request(kept, both, agent, opponent=agent)
    assert kept.tasks() == []


def test_the_outcome_is_part_of_the_task_where_there_is_one():
    plain, decided = roshambo(outcome=""), roshambo()
    assert "outcome" not in plain.description() and decided.description()["outcome"] == "result" and plain.digest != decided.digest
    with pytest.raises(ArenaError, match="metrics: points, result"):
        roshambo(outcome="winner")
    with pytest.raises(ArenaError, match="no two candidate roles"):
        replace(roshambo(), candidates=("row",))


def test_a_frozen_opponent_is_part_of_the_task(kept):
    """Against a frozen opponent a match is an ordinary ranked run."""
    task = replace(roshambo(outcome=""), candidates=("row",), fill={"column": "toy-rock"})
    other = replace(task, fill={"column": "toy-paper"})
    assert task.digest != other.digest and {k for k in task.description() if task.description()[k] != other.description()[k]} == {"fill"}
    paper = registry.candidate("toy-paper")
    run = execute(kept, request(kept, task, paper), task, paper)
    assert run.ranked and [(e.role, e.candidate) for e in kept.entries(run.id)] == [("row", True), ("column", False)]
    assert kept.board(task.id)[0]["headline"] == 1.0 and kept.task(task.id).config["fill"] == {"column": "toy-rock"}
    assert isinstance(task.domain, Roshambo) and "crossplay" not in kept.task(task.id).config
