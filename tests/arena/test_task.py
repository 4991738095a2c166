from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_domains import shop, village, walk

from arena import registry
from arena.errors import ArenaError


def test_scenarios_are_a_pure_function_of_task_split_and_index():
    task = walk()
    whole = task.scenarios
    for index in (0, 7, 19):
        one = task.sample("test", [index])
        assert all(torch.equal(one.tensors()[name][0], value[index]) for name, value in whole.tensors().items())
    assert torch.equal(task.sample("test", [5, 3]).slip, whole.slip[[5, 3]])
    assert not torch.equal(task.sample("train", range(20)).slip, whole.slip)
    assert not torch.equal(replace(task, id="walk/other-v1").scenarios.slip, whole.slip)


def test_the_test_split_only_judges(tiny):
    with pytest.raises(ArenaError, match="agents may not draw from the 'test' split") as error:
        tiny.view.sample("test", [0])
    assert error.value.code == "task.split"
    with pytest.raises(ArenaError, match="agents may not draw"):
        tiny.view.sample("tset", [0])
    assert len(tiny.view.sample("train", [10**9])) == 1, "training scenarios never end"
    with pytest.raises(ArenaError, match="no split is called 'tset'"):
        tiny.sample("tset", [0])
    with pytest.raises(ArenaError, match=r"has scenarios 0..15; asked for -1..16"):
        tiny.sample("test", [-1, 16])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_no_chunk_crosses_a_block(size):
    task = replace(walk(), blocks=(0, 3, 10))
    chunks = task.chunks(size)
    covered = [i for start, n in chunks for i in range(start, start + n)]
    assert covered == list(range(20)) and max(n for _, n in chunks) <= size
    assert all(not (start < border < start + n) for start, n in chunks for border in (3, 10))


def test_blocks_may_differ_in_shape():
    task = village(("worker",), {"planner": "toy-planner"})
    assert [part.skill.shape for part in task.parts] == [(3, 2), (4, 4)]
    assert task.rows(4, 2).skill.shape == (2, 4) and torch.equal(task.rows(4, 2).skill, task.parts[1].skill[1:3])
    assert len(task.digest) == 64


def test_the_digest_covers_what_decides_results(tiny):
    base = walk()
    changed = {
        "config": replace(base, config={"goal": [2, 7]}),
        "generator": replace(base, version=2),
        "score": replace(base, floor=-2.0),
        "id": replace(base, id="walk/tiny-v2"),
        "vectors": replace(base, references=lambda task: {"ref0": np.full(20, 12.0), "ref1": np.full(20, 2.0)}),
        "scenarios": replace(base, n=21),
    }
    digests = {name: task.digest for name, task in changed.items()}
    assert len({base.digest, *digests.values()}) == 7
    kernel = walk()
    kernel.domain.version = 2
    assert kernel.digest != base.digest == walk().digest
    assert replace(base, chunk=3, summary="x").digest == base.digest, "how it is cut and described does not matter"
    filled = [village(("worker",), {"planner": name}) for name in ("toy-planner", "toy-striker")]
    assert filled[0].digest != filled[1].digest, "the frozen agents are part of the task"


def test_freezing_and_what_changed_afterwards(tmp_path):
    task = replace(walk(300), frozen=tmp_path / "frozen" / "walk")
    path = task.freeze()
    stored = json.loads(path.read_text())
    assert stored["digest"] == task.digest
    again = replace(walk(300), frozen=tmp_path / "frozen" / "walk", references=lambda task: pytest.fail("nothing is computed that is frozen"))
    assert again.digest == task.digest and np.array_equal(again.vectors["ref1"], task.vectors["ref1"])
    stored["description"]["scenarios"][1], stored["digest"] = "0" * 64, "0" * 64
    path.write_text(json.dumps(stored))
    with pytest.raises(ArenaError, match=r"scenarios \(first differing scenarios 256..299\) differ") as error:
        _ = replace(walk(300), frozen=tmp_path / "frozen" / "walk").digest
    assert error.value.code == "task.changed" and error.value.context["found"] == task.digest


def test_tasks_on_the_users_files_are_not_frozen():
    with pytest.raises(ArenaError, match="depends on the user's own files"):
        walk().freeze()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"ref0": np.zeros(20)}, "no reference 'ref1'"),
        ({"ref0": np.zeros(20), "ref1": np.ones(19)}, r"vector 'ref1' must be 20 finite numbers, got shape \(19,\)"),
        ({"ref0": np.zeros(20), "ref1": np.full(20, np.nan)}, "vector 'ref1' must be 20 finite numbers"),
    ],
)
def test_references_that_cannot_be(vectors, message):
    with pytest.raises(ArenaError, match=message) as error:
        _ = replace(walk(), references=lambda task: vectors).vectors
    assert error.value.code == "task.vector"


def test_whole_set_scores_need_no_references():
    assert set(shop().vectors) == {"group"}


def test_the_shipped_tasks_are_those_that_were_frozen():
    assert registry.task("bidding/tiny-v1").digest and registry.task("bidding/tiny").id == "bidding/tiny-v1"


def test_what_an_agent_does_to_the_domain_is_its_own(tiny):
    tiny.view.domain.max_bid = 5
    assert tiny.view.domain.max_bid == tiny.domain.max_bid == 300
    with pytest.raises(ValueError, match="read-only"):
        tiny.view.domain.histories[0].theta.sort()
