"""The benchmark measures equal work: the plain loop and the platform come to the same results; and it measures what it says."""

import time

import numpy as np
import pytest
import torch

from arena import registry
from arena.agent import Agent
from arena.speed import seconds
from domains.bidding import bench
from domains.bidding.bounds import lp_bound


def test_small_figures_are_rows_with_every_column():
    before = torch.get_num_threads()
    rows = bench.figures(small=True)
    assert torch.get_num_threads() == before
    assert len(rows) == 9 and all(list(row) == ["what", "value", "unit", "target", "ok", "peer", "ratio"] for row in rows)
    assert len({row["what"] for row in rows}) == 9
    for row in rows:
        assert row["value"] > 0 and row["unit"] in ("s", "auctions/s", "steps/s") and row["target"] is row["ok"] is None
        if row["peer"] is not None:
            better = row["value"] / row["peer"] if row["unit"].endswith("/s") else row["peer"] / row["value"]
            assert row["ratio"] == pytest.approx(better)
    assert sum(row["peer"] is not None for row in rows) == 5


def test_the_registry_finds_the_benchmark():
    assert registry.load(registry.domains()["bidding"].bench) is bench.figures


@pytest.mark.parametrize("name", bench.DEMO)
def test_the_plain_loop_plays_as_the_agents_do(name):
    domain, scenario = bench.campaign_2997(6, 200, 1 / 16)
    known, budget = domain.histories[0], int(scenario.budget[0])
    metrics = bench.played(domain, scenario, name)
    table = bench.plain_table(known.price_pmf(), known.ctr, 200, budget)
    theta, price = scenario.theta.numpy(), scenario.price.numpy()
    value, wins, spent = bench.plain_replay(theta, price, budget, bench.plain_bidder(name, known, table))
    assert 0 < wins < 1200
    assert value == pytest.approx(metrics["value"].sum(), rel=1e-12)
    assert wins == round((metrics["win_rate"] * 200).sum()) and spent == round((metrics["spend_ratio"] * budget).sum())


def test_the_plain_bound_is_the_bound():
    _, scenario = bench.campaign_2997(5, 300, 1 / 8)
    value, price, budget = scenario.theta.numpy().copy(), scenario.price.numpy(), scenario.budget.numpy()
    value[0, :50] = 0.0
    plain = [bench.plain_bound(v, z, int(b)) for v, z, b in zip(value, price, budget, strict=True)]
    np.testing.assert_allclose(plain, lp_bound(value, price, budget), rtol=1e-12)


def test_the_stopwatch_parts_planning_from_playing():
    class Thinker(Agent):
        """Thinks before its first bid of each chunk."""

        def begin(self, brief):
            self.fresh = True
            self.rows = len(brief)

        def act(self, obs):
            until = time.process_time() + (0.05 if self.fresh else 0.0005)
            while time.process_time() < until:
                pass
            self.fresh = False
            return torch.zeros(self.rows, dtype=torch.int32)

    task = registry.task("bidding/tiny-v1")
    agent = bench.Stopwatch(Thinker())
    whole = seconds(lambda: bench.play_task(task, agent), 0)
    chunks = len(task.chunks())
    assert 0.05 * chunks <= agent.planning < 0.08 * chunks
    assert whole - agent.planning > 0.0005 * 99 * chunks


def test_an_agent_that_fails_is_no_figure():
    class Broken(Agent):
        def act(self, obs):
            raise ZeroDivisionError("none")

    with pytest.raises(RuntimeError, match="Broken failed"):
        bench.play_task(registry.task("bidding/tiny-v1"), Broken())


def test_tables_are_made_anew_for_a_renewed_history():
    domain, _ = bench.campaign_2997(1, 100, 1 / 8)
    known = domain.histories[0]
    again = bench.renewed(known)
    assert again is not known and again.digest == known.digest
