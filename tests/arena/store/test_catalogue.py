from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from arena.errors import ArenaError
from arena.store import TaskRecord
from arena.store.catalogue import clean


def test_same_content_is_the_same_version(store):
    first = store.ensure_agent("pid", "classical", "builtin", {"kp": 0.3, "ki": 1})
    again = store.ensure_agent("pid", "classical", "builtin", {"ki": 1, "kp": 0.3})
    assert again == first and first.reference == "pid@1"


@pytest.mark.parametrize("change", [{"spec": {"kp": 2}}, {"nature": "learned"}, {"kind": "file"}, {"artifact_digest": "ab"}, {"domain": "bidding"}])
def test_other_content_is_the_next_version(store, change):
    content = {"nature": "classical", "kind": "builtin", "spec": {"kp": 1}, "artifact_digest": None, "domain": None}
    first = store.ensure_agent("pid", **content)
    second = store.ensure_agent("pid", **{**content, **change})
    assert (first.version, second.version) == (1, 2)
    assert store.ensure_agent("pid", **content).id == first.id
    assert store.agent("pid").id == second.id and store.agent("pid@1").id == first.id


def test_tags_and_card_only_describe(store):
    first = store.ensure_agent("pid", "classical", "builtin", {}, tags=["fast"], card="old")
    described = store.ensure_agent("pid", "classical", "builtin", {}, card="new")
    assert described.id == first.id and described.card == "new" and described.tags == ["fast"]
    assert store.ensure_agent("pid", "classical", "builtin", {}) == store.agent(first.id) == described


def test_content_under_a_second_name_leaves_a_notice(store):
    store.ensure_agent("pid", "classical", "builtin", {"kp": 1})
    store.ensure_agent("pod", "classical", "builtin", {"kp": 1})
    (notice,) = store.events(None)
    assert notice["code"] == "agent.duplicate" and notice["message"] == "pod@1 has the content of pid@1"


def test_registering_at_once_gives_every_content_its_own_version(world):
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda k: world.store.ensure_agent("pid", "classical", "builtin", {"kp": k % 8}), range(24)))
    assert sorted({row.version for row in rows}) == list(range(1, 9))
    assert len({row.id for row in rows}) == 8


def test_retired_versions_are_hidden_and_bare_names_pass_them_over(store):
    first = store.ensure_agent("pid", "classical", "builtin", {"kp": 1})
    second = store.ensure_agent("pid", "classical", "builtin", {"kp": 2})
    store.retire_agent(second.id)
    assert store.agent("pid").id == first.id
    assert [row["id"] for row in store.agents()] == [first.id]
    assert [row["id"] for row in store.agents(retired=True)] == [first.id, second.id]
    store.retire_agent(second.id, retired=False)
    assert store.agent("pid").id == second.id


def test_unknown_names_suggest_known_ones(world):
    world.task("bidding/standard-v1")
    world.agent("pacer")
    with pytest.raises(ArenaError, match="bidding/standard-v1") as task:
        world.store.task("bidding/standrd-v1")
    with pytest.raises(ArenaError, match="pacer") as agent:
        world.store.agent("pacr")
    with pytest.raises(ArenaError):
        world.store.agent("pacer@x")
    assert (task.value.code, agent.value.code) == ("unknown.task", "unknown.agent")
    assert agent.value.exit_code == 6


def test_task_keeps_metrics_and_exact_vectors(world):
    odd = np.array([0.1, -0.0, 1e-310, np.pi, np.inf, np.nan])
    record = TaskRecord("dom/odd-v1", "dom", "tiny", "d", {"b": [1, "x"]}, 6, "iqm", "task", -2.5, vectors={"ref0": odd, "big": odd.astype(">f8")})
    id = world.store.ensure_task(record)
    assert world.store.ensure_task(record) == id
    vectors = world.store.task_vectors(id)
    assert vectors["ref0"].tobytes() == odd.tobytes() and vectors["big"].tobytes() == odd.tobytes()
    row = world.store.task("dom/odd-v1")
    assert (row.id, row.config, row.headline, row.normalise, row.floor) == (id, {"b": [1, "x"]}, "iqm", "task", -2.5)
    metrics = world.store.metrics(world.task())
    assert [(m["name"], m["role"], m["direction"], m["threshold"]) for m in metrics] == [("value", "primary", 1, None), ("score", "score", 1, None)]


def test_a_name_with_another_digest_is_another_task(world):
    first = world.store.ensure_task(TaskRecord("dom/t-v1", "dom", "tiny", "one", {}, 4))
    second = world.store.ensure_task(TaskRecord("dom/t-v1", "dom", "tiny", "two", {}, 4))
    assert first != second and world.store.task("dom/t-v1").id == second


def test_vectors_of_the_wrong_length_are_refused(store):
    with pytest.raises(ArenaError, match=r"\(3,\)") as error:
        store.ensure_task(TaskRecord("dom/t-v1", "dom", "tiny", "one", {}, 4, vectors={"ref0": np.zeros(3)}))
    assert error.value.code == "store.vector" and not store.tasks()


def test_the_same_environment_is_stored_once(store):
    first = store.ensure_environment({"python": "3.11", "threads": 2})
    assert store.ensure_environment({"threads": 2, "python": "3.11"}) == first
    assert store.ensure_environment({"threads": 4, "python": "3.11"}) != first


def test_tasks_and_agents_count_their_standings(world):
    task, other, agent = world.task(), world.task("dom/other-v1", domain="zoo"), world.agent()
    world.finished(task, agent)
    assert [(row["id"], row["agents"]) for row in world.store.tasks()] == [(task, 1), (other, 0)]
    assert [row["id"] for row in world.store.tasks(domain="zoo", tier="standard")] == [other]
    assert [(row["id"], row["tasks"]) for row in world.store.agents()] == [(agent, 1)]


def test_text_is_cut_to_whole_characters():
    assert clean("é" * 10, limit=5) == "éé"
    assert clean("a\0b\ud800") == "a\N{REPLACEMENT CHARACTER}b?"
