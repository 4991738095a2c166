"""The benchmark measures equal work: the plain loop, the kernel and the checker come to the same results; and it measures what it says."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from benchmarks import combinatorial as side_by_side
from domains.combinatorial import bench
from domains.combinatorial.kernel import PROBLEMS


def test_small_figures_are_rows_with_every_column():
    before = torch.get_num_threads()
    rows = bench.figures(small=True)
    assert torch.get_num_threads() == before
    assert len({row["what"] for row in rows}) == len(rows) == 2 * len(PROBLEMS) + 5
    for row in rows:
        assert list(row) == ["what", "value", "unit", "target", "ok", "peer", "ratio"]
        assert row["value"] > 0 and row["unit"] in ("s", "choices/s", "steps/s") and row["target"] is row["ok"] is None
        if row["peer"] is not None:
            assert row["ratio"] == pytest.approx(row["value"] / row["peer"])
    assert sum(row["peer"] is not None for row in rows) == 2 * len(PROBLEMS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_plain_loop_plays_as_the_kernel_does(problem):
    domain, scenario = bench.world(problem, 50 if problem == "kp" else 20, 6)
    actions = bench.recorded(domain, scenario)
    total = bench.played(domain, scenario, actions)
    plain = bench.plain_rollout(problem, scenario, torch.stack(actions, 1).tolist())
    assert plain == pytest.approx(total.tolist(), rel=1e-12)
    state = bench.textbook(domain, scenario)
    value = domain.metrics(scenario, state)["value" if domain.maximise else "cost"]
    assert (value if domain.maximise else -value).tolist() == pytest.approx(total.tolist(), rel=1e-12)
    assert bench.choices(domain, scenario) == int((state.order >= 0).sum())


def test_the_plain_loop_refuses_what_the_kernel_refuses():
    _, scenario = bench.world("cvrp", 20, 1)
    full = [2 * j for j in range(1, 21)]  # demands of 20 customers exceed one vehicle
    with pytest.raises(ValueError, match="not legal"):
        bench.plain_rollout("cvrp", scenario, [full])


def test_trips_to_the_depot_become_steps_of_their_own():
    chosen = torch.tensor([[2 * 3 + 1, 2 * 1, 2 * 2 + 1], [2 * 2, 2 * 1, 2 * 3]])
    assert side_by_side.through_the_depot(chosen).tolist() == [[3, 1, 0, 2], [2, 1, 3, 0]]


def test_without_the_peer_only_our_side_is_printed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == side_by_side.PEER else find(name, *rest))
    (result,) = side_by_side.rollouts(n=20, repeats=1, cases=[("cvrp", 4, 1.2)])
    assert result.ours > 0 and result.peer is None and "goal" not in str(result)


def test_a_goal_is_met_by_the_ratio():
    assert "goal 2.0: met" in str(side_by_side.Result("x", 20.0, 10.0, 2.0)) and "missed" in str(side_by_side.Result("x", 19.0, 10.0, 2.0))


@pytest.mark.parametrize("problem", ["tsp", "cvrp"])
def test_the_peer_finds_the_same_lengths(problem):
    pytest.importorskip("rl4co")
    domain, scenario = bench.world(problem, 20, 8)
    actions = bench.recorded(domain, scenario)
    _, lengths = side_by_side.rl4co_rollout(problem, scenario, actions)
    torch.testing.assert_close(torch.from_numpy(lengths()), -bench.played(domain, scenario, actions), rtol=side_by_side.EQUAL, atol=0)


def test_decoding_with_and_without_the_buffer_builds_the_same_tours():
    net, (_, scenario) = side_by_side.network(), bench.world("tsp", 15, 16)
    instances = side_by_side.given("tsp", scenario)
    buffered = side_by_side.greedy(net, instances, side_by_side.whole(instances), 15).order
    masked = side_by_side.without_buffer(net, instances.token)
    assert bool((buffered.sort(1).values == torch.arange(1, 15)).all())
    assert float((buffered == masked).all(1).double().mean()) > 0.9
    assert not torch.equal(masked, masked[:1].expand_as(masked)), "every instance has a tour of its own"
