from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from arena.errors import ArenaError
from arena.store import RatingRecord


@pytest.fixture
def league(world):
    """Three tasks in two domains, four agents of two natures, two seeds each on the first task."""
    tasks = [world.task(f"{domain}/t{k}-v1", domain=domain) for k, domain in enumerate(("dom", "dom", "zoo"))]
    names = (("pid", "classical", 0.2), ("mpc", "classical", 0.4), ("ppo", "learned", 0.3), ("sac", "learned", 0.1))
    agents = {name: world.agent(name, nature) for name, nature, _ in names}
    for name, _, value in names:
        for seed in (0, 1):
            world.finished(tasks[0], agents[name], seed, value + seed / 100)
    world.finished(tasks[2], agents["ppo"], value=0.9)
    return world, tasks, agents


def test_the_board_is_sorted_and_read_in_one_statement(league, statements):
    world, tasks, _ = league
    lines = world.store.board(tasks[0])
    assert [line["agent"] for line in lines] == ["mpc", "ppo", "pid", "sac"]
    assert "draws" not in lines[0] and pd.DataFrame(lines)["runs"].tolist() == [2] * 4
    assert len(statements) == 1
    assert world.store.board("dom/t0-v1", with_draws=True)[0]["draws"].shape == (2000,)
    assert len(statements) == 2
    assert world.store.board("dom/none-v1") == [] == world.store.board(tasks[1])


def test_scores_are_a_matrix_in_the_order_asked_for(league, statements):
    world, tasks, agents = league
    pooled = world.store.pooled_entries(tasks[0], [agents["pid"], agents["mpc"]])
    assert [(row["agent_id"], row["seed"]) for row in pooled] == [(agents[a], s) for a in ("pid", "mpc") for s in (0, 1)]
    ids = [row["entry_id"] for row in pooled]
    matrix = world.store.scores([ids[2], ids[0], ids[2]])
    assert len(statements) == 2
    scenario = np.arange(30) / 1000
    np.testing.assert_array_equal(matrix, [0.4 + scenario, 0.2 + scenario, 0.4 + scenario])
    np.testing.assert_array_equal(world.store.scores(ids[:1], "value")[0], 100 * (0.2 + scenario))


def test_scores_of_different_tasks_are_not_put_together(league):
    world, tasks, agents = league
    ids = [world.store.pooled_entries(task, [agents["ppo"]])[0]["entry_id"] for task in (tasks[0], tasks[2])]
    for wrong, code in ((ids, "compare.different_tasks"), ([ids[0], 10_000], "unknown.entry"), ([], "unknown.entry")):
        with pytest.raises(ArenaError) as error:
            world.store.scores(wrong)
        assert error.value.code == code


def test_metric_vectors_of_an_entry(league, statements):
    world, tasks, agents = league
    entry = world.store.pooled_entries(tasks[2], [agents["ppo"]])[0]["entry_id"]
    vectors = world.store.metric_vectors(entry)
    assert list(vectors) == ["value", "score"] and vectors["score"][29] == 0.9 + 0.029 and len(statements) == 2
    assert world.store.metric_vectors(10_000) == {}


def test_one_scenario_of_everybody(league, statements):
    world, tasks, _ = league
    rows = world.store.scenario(tasks[0], 17)
    assert len(statements) == 1
    table = pd.DataFrame(rows).pivot_table(index=["agent", "seed"], columns="metric", values="value")
    assert table.shape == (8, 2) and table.loc[("mpc", 1), "score"] == pytest.approx(0.427, abs=1e-15)
    assert world.store.scenario(tasks[0], 30) == []


def test_usages_behind_the_boards_of_some_tasks(league, statements):
    world, tasks, agents = league
    world.played(tasks[0], agents["pid"], 2)  # not complete
    unranked = world.played(tasks[0], agents["pid"], 3, ranked=False)
    world.store.finish(unranked.id, world.summarise)
    statements.clear()
    found = world.store.usages(["dom/t0-v1", "zoo/t2-v1"])
    assert len(statements) == 1
    assert sorted((told["agent_id"], told["usage"], told["decisions"]) for told in found) == sorted(
        (agent, {"tokens": 21}, 60) for agent in [*agents.values()] * 2 + [agents["ppo"]]
    )
    assert {told["run_id"] for told in found} == {run for task in (tasks[0], tasks[2]) for line in world.store.board(task) for run in line["run_set"]}
    assert world.store.usages(["dom/none-v1"]) == []


def test_leaders_per_task_and_nature(league, statements):
    world, tasks, _ = league
    leaders = [(row["task_id"], row["nature"], row["agent"], row["domain"]) for row in world.store.leaders()]
    expected = [(tasks[0], "classical", "mpc", "dom"), (tasks[0], "learned", "ppo", "dom"), (tasks[2], "learned", "ppo", "zoo")]
    assert leaders == expected and len(statements) == 1


def test_overview_counts(league, statements):
    world, tasks, agents = league
    world.request(tasks[1], agents["pid"])
    counts = {"agents": 4, "tasks": 3, "standings": 5, "queued": 1, "running": 0, "complete": 9, "failed": 0, "cancelled": 0}
    assert world.store.overview() == counts and len(statements) == 1 + 1  # the request looked up its environment


def test_standings_of_an_agent(league, statements):
    world, _, agents = league
    assert [(row["task"], row["domain"], row["tier"]) for row in world.store.standings(agents["ppo"])] == [
        ("dom/t0-v1", "dom", "standard"),
        ("zoo/t2-v1", "zoo", "standard"),
    ]
    assert len(statements) == 1


def test_boards_of_a_domain_side_by_side(league, statements):
    world, tasks, agents = league
    rows = [(row["task_id"], row["tier"], row["agent_id"], row["headline"]) for row in world.store.matrix("dom")]
    board = world.store.board(tasks[0])
    assert rows == [(tasks[0], "standard", line["agent_id"], line["headline"]) for line in board] and len(statements) == 2
    assert [(row["task"], row["agent_id"]) for row in world.store.matrix("zoo")] == [("zoo/t2-v1", agents["ppo"])]
    assert world.store.matrix("none") == []


def test_some_lines_of_a_board_and_their_draws(league, statements):
    world, tasks, agents = league
    whole = {line["agent_id"]: line for line in world.store.board(tasks[0], with_draws=True)}
    some = world.store.board(tasks[0], agent_ids=[agents["sac"], agents["mpc"]])
    assert [line["agent"] for line in some] == ["mpc", "sac"] and len(statements) == 2
    keys = [(tasks[0], agents["pid"]), (tasks[2], agents["ppo"]), (tasks[2], agents["pid"])]
    draws = world.store.draws(keys)
    assert set(draws) == set(keys[:2]) and len(statements) == 3  # pid has not played the last one
    np.testing.assert_array_equal(draws[keys[0]], whole[agents["pid"]]["draws"])
    assert world.store.draws([]) == {}


def test_counts_per_domain_and_when_a_board_last_changed(league, statements):
    world, tasks, agents = league
    assert world.store.domain_counts() == {"dom": {"boards": 1, "agents": 4}, "zoo": {"boards": 1, "agents": 1}} and len(statements) == 1
    before = world.store.changed()
    assert before == max(line["updated"] for task in tasks for line in world.store.board(task))
    world.finished(tasks[1], agents["pid"], value=0.5)
    assert world.store.changed() > before


def test_under_what_runs_were_played(league, statements):
    world, tasks, agents = league
    rows = world.store.conditions(tasks[0], [agents["mpc"], agents["pid"]])
    assert [(row["agent_id"], row["seed"], row["level"]) for row in rows] == [(agents[a], s, "inline") for a in ("pid", "mpc") for s in (0, 1)]
    assert rows[0]["environment"]["python"] and rows[0]["verified"] is None and len(statements) == 1
    assert world.store.levels(tasks[0]) == dict.fromkeys(agents.values(), ["inline"]) and len(statements) == 2
    found = world.store.agent_rows([agents["ppo"], 10_000])
    assert list(found) == [agents["ppo"]] and found[agents["ppo"]] == world.store.agent("ppo")


def test_pages_of_runs_join_without_gap_or_overlap(league, statements):
    world, tasks, agents = league
    pages, before = [], None
    while page := world.store.runs(before=before, limit=4):
        pages.append([run["id"] for run in page])
        before = page[-1]["id"]
    assert [len(page) for page in pages] == [4, 4, 1] and sum(pages, []) == sorted(sum(pages, []), reverse=True)
    assert len(statements) == 3 * 2 + 1
    assert [run["candidates"] for run in world.store.runs(limit=1)] == [["ppo@1"]]
    assert {run["task"] for run in world.store.runs(task_id=tasks[2])} == {"zoo/t2-v1"}
    assert len(world.store.runs(agent_id=agents["sac"])) == 2
    assert world.store.runs(status="failed") == [] and len(world.store.runs(status="complete")) == 9


def test_everything_about_a_run(league, statements):
    world, tasks, agents = league
    (run,) = world.store.runs(task_id=tasks[2])
    statements.clear()
    detail = world.store.run(run["id"])
    assert len(statements) == 3
    assert (detail["task"], detail["n_scenarios"], detail["environment"], detail["seconds"]) == ("zoo/t2-v1", 30, {"python": "3.11"}, 1.5)
    (entry,) = detail["entries"]
    assert (entry["agent"], entry["version"], entry["nature"], entry["agent_id"]) == ("ppo", 1, "learned", agents["ppo"])
    statements.clear()
    assert [chunk["chunk"] for chunk in world.store.chunks(run["id"])] == [0, 1, 2]
    assert world.store.failures(run["id"]) == [] and world.store.events(run["id"]) == []
    assert list(world.store.timings(run["id"])) == [entry["id"]]
    assert len(statements) == 4


def test_the_number_of_statements_does_not_grow_with_the_rows(league, statements):
    world, tasks, _ = league
    counts = []
    for more in (0, 6):
        for k in range(more):
            world.finished(tasks[0], world.agent(f"more{k}"), value=0.01 * k)
        statements.clear()
        for read in (
            world.store.tasks,
            world.store.agents,
            world.store.runs,
            world.store.leaders,
            world.store.overview,
            lambda: world.store.board(tasks[0]),
        ):
            read()
        counts.append(len(statements))
    assert counts == [7, 7]


def test_an_empty_store_answers_everything(store):
    assert store.board("none") == store.leaders() == store.runs() == store.tasks() == store.agents() == store.stalled() == store.events(None) == []
    assert set(store.overview().values()) == {0} and store.changed() == 0 and store.domain_counts() == store.levels(1) == store.agent_rows([1]) == {}
    assert store.next_queued("w") is None and store.check() == [] and store.gc() == []


def test_ratings_of_a_pool_replace_each_other(league, statements):
    world, tasks, agents = league
    draws = np.linspace(0, 1, 1000, dtype=np.float32)
    for pool, names in (("a", ("pid", "mpc", "ppo")), ("b", ("pid",)), ("a", ("pid", "mpc"))):
        rows = [RatingRecord(agents[name], 1000.0 + 5 * k, 990.0, 1010.0, 40, draws) for k, name in enumerate(names)]
        world.store.save_ratings(tasks[0], pool, rows)
    lines = world.store.ratings(tasks[0], "a")
    assert [(line["agent"], line["rating"], line["games"]) for line in lines] == [("mpc", 1005.0, 40), ("pid", 1000.0, 40)]
    assert lines[0]["draws"].tobytes() == draws.tobytes() and len(statements) == 1
    assert len(world.store.ratings(tasks[0], "b")) == 1 and world.store.ratings(tasks[1], "a") == []
