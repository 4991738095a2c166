"""Speed of the bidding domain: kernel, bounds, value tables, whole boards; beside what a plain per-auction loop needs for the same work.

    arena bench bidding

Seconds are CPU seconds of one thread, the best of several repeats after a first that is not counted, so that figures hold on a
machine others use too; a repeat that takes many seconds is done once. Agents are found through the registry and asked as in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena import registry
from arena.agent import Agent, Brief
from arena.faces.gymnasium import ArenaEnv
from arena.rollout import players, rollout
from arena.seeds import scenario_seeds
from arena.speed import Row, one_thread, row, seconds
from arena.task import Task, TaskView
from domains.bidding.bounds import lp_bound
from domains.bidding.generator import generate
from domains.bidding.history import Floats, History, Integers
from domains.bidding.kernel import Auctions, Bidding
from domains.bidding.scenarios import auctions, history

DEMO = ("ss-mdp", "mcpc", "lin(b0=10)", "rlb")  # the four bidders of the published demo, with the slope it tuned for campaign 2997
DEMO_AUCTIONS = 156_063  # the test log of campaign 2997


def figures(small: bool = False) -> list[Row]:
    """Rows `what`, `value`, `unit`, `target`, `ok` (None without a target), `peer` (the plain loop's figure or None) and `ratio`: how many
    times better than the peer. `small`: everything at a tenth of the size or less, without targets, in seconds.
    """
    with one_thread(), torch.no_grad():
        rows = [*kernel_rows(small), *demo_rows(small), *bound_rows(small), *board_rows(small), face_row(small)]
    if small:
        for row in rows:
            row["target"] = row["ok"] = None
    return rows


def kernel_rows(small: bool) -> list[Row]:
    """Auctions per second of the full-contract step: 4096 scenarios at once and 16,384, where torch's cost per operation no longer counts."""
    return [row for rows in ((256,) if small else (4096, 16_384)) for row in _kernel_rows(rows, 100 if small else 1000)]


def _kernel_rows(rows: int, n: int) -> list[Row]:
    """With a linear bidder's bids made beforehand and in passing, beside the plain loop."""
    domain, scenario = campaign_2997(rows, n, 1 / 8)
    slope = 36 / domain.histories[0].ctr

    def linear(t: int) -> Tensor:
        return (scenario.theta[:, t] * slope).clamp(max=domain.max_bid).to(torch.int32)

    bids = [linear(t) for t in range(n)]

    def play(bid: Callable[[int], Tensor]) -> None:
        state = domain.reset(scenario)
        for t in range(n):
            state, _ = domain.step(scenario, state, bid(t))

    few = 20
    theta, price, budget = scenario.theta[:few].numpy(), scenario.price[:few].numpy(), int(scenario.budget[0])
    plain = few * n / seconds(lambda: plain_replay(theta, price, budget, lambda n_left, b, v: int(v * slope)), 3)
    what = f"kernel step with rewards, record and legality check, {rows} x {n}, one core"
    return [
        row(what, rows * n / seconds(lambda: play(bids.__getitem__), 7), "auctions/s", 1e8, plain),
        row(what + ", linear bids included", rows * n / seconds(lambda: play(linear), 7), "auctions/s", None, plain),
    ]


def demo_rows(small: bool) -> list[Row]:
    """The value table alone, and the published demo's work: one dynamic programme, four replays of a whole test log."""
    n, demo = (100, 2000) if small else (1000, DEMO_AUCTIONS)
    episodes = -(-demo // n)
    found = []
    for c0 in (1 / 32, 1 / 8):
        domain, scenario = campaign_2997(1, n, c0)

        def plan(domain: Bidding = domain, scenario: Auctions = scenario) -> float:
            fresh = Bidding([renewed(domain.histories[0])], n, domain.slot)  # tables are kept per history: a new one each time
            return first_decision("rlb", fresh, scenario)

        known = domain.histories[0]
        plain = None
        if c0 == 1 / 32:
            plain = seconds(partial(plain_table, known.price_pmf(), known.ctr, n, int(scenario.budget[0])), 0)
        budget = int(scenario.budget[0])
        found.append(row(f"RLB table to first bid, N = {n}, B = {budget}", min(plan() for _ in range(4)), "s", 0.6, plain))

    domain, scenario = campaign_2997(episodes, n, 1 / 32)
    budget, known = int(scenario.budget[0]), domain.histories[0]

    def work() -> float:
        fresh = Bidding([renewed(known)], n, domain.slot)
        return seconds(lambda: [played(fresh, scenario, name) for name in DEMO], 0)

    theta, price = scenario.theta.numpy(), scenario.price.numpy()
    plain = process_time()
    table = plain_table(known.price_pmf(), known.ctr, n, budget)
    for name in DEMO:
        plain_replay(theta, price, budget, plain_bidder(name, known, table))
    plain = process_time() - plain
    work()
    what = f"one RLB table and four replays of {episodes * n:,} auctions, recorded and timed as in a run"
    return [*found, row(what, min(work() for _ in range(3)), "s", 0.5, plain)]


def bound_rows(small: bool) -> list[Row]:
    """The clairvoyant bounds of every scenario of the standard task."""
    task = registry.task("bidding/tiny-v1" if small else "bidding/standard-v1")
    scenario = task.scenarios
    assert isinstance(scenario, Auctions)
    value, price, budget = (tensor.numpy() for tensor in (scenario.theta, scenario.price, scenario.budget))
    few = min(64, task.n)
    plain = seconds(lambda: [plain_bound(value[i], price[i], int(budget[i])) for i in range(few)], 2) * task.n / few
    parts = [slice(start, start + 256) for start in range(0, task.n, 256)]
    taken = seconds(lambda: [lp_bound(value[part], price[part], budget[part]) for part in parts], 3)
    return [row(f"linear bounds of {task.n} x {value.shape[1]} auctions ({task.id})", taken, "s", 0.5, plain)]


def board_rows(small: bool) -> list[Row]:
    """A whole board of classical bidders: what they think before the first bid of each chunk, and playing."""
    task = registry.task("bidding/tiny-v1" if small else "bidding/standard-v1")
    names = [name for name, spec in registry.agents().items() if spec.nature == "classical" and spec.plays(task.id)]
    planning = playing = 0.0
    for name in names:
        agent = Stopwatch(registry.candidate(name).make())
        whole = seconds(lambda agent=agent: play_task(task, agent), 0)  # type: ignore[misc]
        planning, playing = planning + agent.planning, playing + whole - agent.planning
    board = f"{len(names)} classical bidders on {task.id}"
    return [
        row(f"{board}: playing {task.n * task.domain.horizon:,} auctions each", playing, "s", 15.0),
        row(f"{board}: tuning and value tables", planning, "s", 90.0),
    ]


def face_row(small: bool) -> Row:
    """One environment behind Gymnasium's own interface, episode after episode, scenarios drawn included."""
    env = ArenaEnv("bidding/tiny-v1" if small else "bidding/standard-v1")
    env.reset(seed=0)

    def episode() -> None:
        over = False
        while not over:
            *_, terminated, truncated, _ = env.step(40)
            over = terminated or truncated
        env.reset()

    n = env.task.domain.horizon
    return row("single Gymnasium environment, impression by impression", n / seconds(episode, 5), "steps/s", 8000.0)


# ---- what is measured ----------------------------------------------------------------------------------------------


class Stopwatch(Agent):
    """An agent whose CPU time before its first answer of every chunk is summed in `planning`."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.mode, self.planning = agent, agent.mode, 0.0
        self.fresh = True

    def begin(self, brief: Brief) -> None:
        self.fresh, start = True, process_time()
        self.agent.begin(brief)
        self.planning += process_time() - start

    def act(self, obs: Any) -> Any:
        if not self.fresh:
            return self.agent.act(obs)
        self.fresh, start = False, process_time()
        answer = self.agent.act(obs)
        self.planning += process_time() - start
        return answer

    def end(self) -> None:
        self.agent.end()


def campaign_2997(episodes: int, n: int, c0: float) -> tuple[Bidding, Auctions]:
    """Generated episodes of campaign 2997 at one budget level, with the history every task of it shows."""
    known = history("2997", min(n, 1000))
    theta, price, click = generate("2997", scenario_seeds("bidding/bench-2997", "train", range(episodes)), n)
    rows = auctions(theta, price, click, np.full(episodes, c0), np.zeros(episodes, np.int64), [known], max(1, n // 50))
    return Bidding([known], n, max(1, n // 50)), rows


def renewed(known: History) -> History:
    """The same history as another object: what agents keep per history does not help."""
    pairs = (known.theta, known.price, known.episode, known.max_price, known.click)
    return History(known.campaign, known.impressions, known.cost, known.clicks, known.price_counts, *pairs)


def played(domain: Bidding, scenario: Auctions, name: str) -> dict[str, Floats]:
    """Metrics of one bidder on these scenarios."""
    lineup = players(domain, {"bidder": registry.candidate(name).make()})
    return rollout(domain, scenario, lineup, task=_view(domain), ids=torch.arange(len(scenario))).metrics


def play_task(task: Task, agent: Agent) -> None:
    lineup = players(task.domain, {task.role: agent})
    for start, n in task.chunks():
        episode = rollout(task.domain, task.rows(start, n), lineup, task=task.view, ids=torch.arange(start, start + n))
        if episode.failures:
            raise RuntimeError(f"{type(agent).__name__} failed on {task.id}: {episode.failures[0].detail}")


def first_decision(name: str, domain: Bidding, scenario: Auctions) -> float:
    """CPU seconds from the first observation to the first bid."""
    agent = registry.candidate(name).make()
    mode = domain.roles[0].modes[0]
    ids = torch.arange(len(scenario))
    agent.begin(Brief(_view(domain), "bidder", mode.name, mode.observation_space, mode.action_space, domain.horizon, ids, torch.device("cpu"), 0))
    seen = {**domain.observe(scenario, domain.reset(scenario)), "live": torch.ones(len(scenario), dtype=torch.bool)}
    start = process_time()
    agent.act(seen)
    return process_time() - start


def _view(domain: Bidding) -> TaskView:
    def nothing(split: str, indices: Sequence[int]) -> Any:
        raise NotImplementedError("a benchmark has no training scenarios")

    return TaskView("bidding/bench", domain, {}, nothing)


# ---- the peer: one auction at a time, in plain Python --------------------------------------------------------------


def plain_table(price_pmf: Floats, theta_bar: float, auctions_left: int, budget: int) -> list[list[float]]:
    """V(t, b) by the loop the recursion suggests: for each t and b, prices upwards until the gain turns negative."""
    law, table = price_pmf.tolist(), [[0.0] * (budget + 1)]
    for _ in range(auctions_left):
        before = table[-1]
        row = [0.0]
        for b in range(1, budget + 1):
            here = before[b]
            value = here
            for price in range(min(b, len(law) - 1) + 1):
                gain = theta_bar + before[b - price] - here
                if gain < 0:
                    break
                value += law[price] * gain
            row.append(value)
        table.append(row)
    return table


def plain_bidder(name: str, known: History, table: list[list[float]]) -> Callable[[int, int, float], int]:
    """The four bidders of the demo as functions of auctions left, budget and value; bids are not yet cut to the budget."""
    if name == "mcpc":
        return lambda n, b, theta: int(theta * known.ecpc)
    if name == "lin(b0=10)":
        return lambda n, b, theta: int(theta * 10 / known.ctr)

    def planned(n: int, b: int, theta: float) -> int:
        row = table[n - 1]
        worth = theta if name == "rlb" else known.ctr
        bid = 0
        while bid < min(b, known.max_price) and worth + row[b - bid - 1] - row[b] >= 0:
            bid += 1
        return bid

    return planned


def plain_replay(theta: Floats, price: Integers, budget: int, bidder: Callable[[int, int, float], int], top: int = 300) -> tuple[float, int, int]:
    """Value, wins and money spent over episodes [E, n], each on a budget of its own."""
    value, wins, spent = 0.0, 0, 0
    for values, prices in zip(theta.tolist(), price.tolist(), strict=True):
        left, n = budget, len(values)
        for worth, z in zip(values, prices, strict=True):
            bid = min(bidder(n, left, worth), top, left)
            n -= 1
            if bid >= z:
                left -= z
                value += worth
                wins += 1
        spent += budget - left
    return value, wins, spent


def plain_bound(value: NDArray[Any], price: NDArray[Any], budget: int) -> float:
    """The greedy knapsack of one episode, the last auction split."""

    def ratio(item: tuple[float, int]) -> float:
        worth, z = item
        return 0.0 if worth == 0 else worth / z if z else float("inf")

    left, total = budget, 0.0
    for worth, z in sorted(zip(value.tolist(), price.tolist(), strict=True), key=ratio, reverse=True):
        if worth <= 0:
            break
        if z > left:
            return float(total + worth * left / z)
        left -= z
        total += worth
    return total
