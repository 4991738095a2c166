"""Roll-outs of TSP100 and CVRP100 beside RL4CO, and BQ decoding beside the same network without its index buffer.

    python -m benchmarks.combinatorial

RL4CO is no dependency of the platform. Where it can be imported, both replay the same tours of the same instances in one process, by turns:
step, mask of the next step and reward are timed, nobody's policy is. RL4CO runs as it is fastest (its plain `step`, float32, one call for the
reward, no check of the solution); our step refuses illegal actions, records and rewards each choice in float64. RL4CO's steps to the depot
are its own work, customers are what is counted. One thread, CPU seconds, the best of each.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.combinatorial.bq_decode import given, greedy, whole
from agents.combinatorial.bq_net import SHAPES, BqNet, features
from arena.speed import one_thread
from domains.combinatorial.bench import played, recorded, world
from domains.combinatorial.kernel import Combinatorial, Instances

CASES = [("tsp", 1024, 2.0), ("cvrp", 1024, 1.2), ("tsp", 1, 2.2), ("cvrp", 1, 1.6)]  # problem, batch, how many times RL4CO's rate is the goal
PEER = "rl4co"
INSTALL = "RL4CO is not here; to compare, in an environment of its own beside this package: pip install torch==2.13.0 && pip install rl4co==0.7.0"
EQUAL = 1e-5  # relative: RL4CO sums a hundred float32 edges


@dataclass(frozen=True)
class Result:
    """A line of the table: `ours` and `peer` per second, `goal` for their ratio (None: no goal)."""

    what: str
    ours: float
    peer: float | None
    goal: float | None

    def __str__(self) -> str:
        line = f"{self.what:44s} {self.ours:14,.0f}"
        if self.peer is None:
            return line
        goal = "" if self.goal is None else f"  goal {self.goal:.1f}: {'met' if self.ours >= self.goal * self.peer else 'missed'}"
        return f"{line} {self.peer:14,.0f} {self.ours / self.peer:8.2f}{goal}"


# ---- roll-outs -----------------------------------------------------------------------------------------------------------------


def rollouts(n: int = 100, repeats: int = 8, cases: list[tuple[Any, int, float]] = CASES) -> list[Result]:
    """Customers per second of both. Raises RuntimeError where the two disagree on the length of a tour."""
    found = []
    for problem, batch, goal in cases:
        domain, scenario = world(problem, n, batch)
        actions = recorded(domain, scenario)

        def ours(domain: Combinatorial = domain, scenario: Instances = scenario, actions: list[Tensor] = actions) -> float:
            state = domain.reset(scenario)
            start = process_time()
            for action in actions:
                state, _ = domain.step(scenario, state, action)
            return process_time() - start

        ways = [ours]
        if importlib.util.find_spec(PEER):
            theirs, lengths = rl4co_rollout(problem, scenario, actions)
            with torch.inference_mode():
                np.testing.assert_allclose(-played(domain, scenario, actions).numpy(), lengths(), rtol=EQUAL)
            ways.append(theirs)
        best = by_turns(ways, repeats if batch > 1 else 10 * repeats)
        rates = [batch * n / seconds for seconds in best]
        found.append(Result(f"{problem.upper()}{n}, {batch} at once, customers/s", rates[0], rates[1] if len(rates) > 1 else None, goal))
    return found


def by_turns(ways: list[Callable[[], float]], repeats: int) -> list[float]:
    """The fastest of each, after a first turn that warms up."""
    with torch.inference_mode():
        turns = [[way() for way in ways] for _ in range(repeats + 1)]
    return [min(times) for times in zip(*turns[1:], strict=True)]


def rl4co_rollout(problem: str, scenario: Instances, actions: list[Tensor]) -> tuple[Callable[[], float], Callable[[], Any]]:
    """RL4CO's environment on the same instances: a timed replay of the same tours, and their lengths [B]."""
    logging.getLogger("rl4co").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rl4co.envs import CVRPEnv, TSPEnv
        from tensordict import TensorDict
    coords, rows = scenario.coords.float(), len(scenario.size)
    chosen = torch.stack(actions, 1)
    if problem == "tsp":
        env = TSPEnv(generator_params={"num_loc": coords.shape[1]}, check_solution=False)
        start = TensorDict({"locs": coords}, batch_size=[rows])
        tours = torch.cat((torch.zeros(rows, 1, dtype=torch.int64), chosen), 1)  # its first choice is where the tour begins
    else:
        capacity = int(scenario.capacity[0])
        env = CVRPEnv(generator_params={"num_loc": coords.shape[1] - 1, "capacity": capacity}, check_solution=False)
        demand = scenario.demand[:, 1:].float() / capacity
        start = TensorDict({"locs": coords[:, 1:], "depot": coords[:, 0], "demand": demand}, batch_size=[rows])
        tours = through_the_depot(chosen)
    moves = [move.contiguous() for move in tours.unbind(1)]

    def replayed() -> tuple[float, Tensor]:
        td = env.reset(copy.deepcopy(start))
        begin = process_time()
        for move in moves:
            td.set("action", move)
            td = env.step(td)["next"]
        reward = env.get_reward(td, tours)
        return process_time() - begin, reward

    def timed() -> float:
        return replayed()[0]

    def lengths() -> Any:
        return -replayed()[1].double().numpy()

    return timed, lengths


def through_the_depot(chosen: Tensor) -> Tensor:
    """[B, T'] nodes with the depot (0) as a step of its own, from the kernel's choices [B, T]; shorter rows wait at the depot."""
    rows = []
    for choices in chosen.tolist():
        tour: list[int] = []
        for k, choice in enumerate(choices):
            tour += [0, choice >> 1] if choice & 1 and k else [choice >> 1]
        rows.append(tour)
    longest = max(map(len, rows))
    return torch.tensor([tour + [0] * (longest - len(tour)) for tour in rows])


# ---- decoding --------------------------------------------------------------------------------------------------------------------


def decoding(n: int = 100, batch: int = 64, repeats: int = 2) -> Result:
    """Tours per second of the small network, greedy, from its index buffer; beside the whole instance at every step, visited nodes masked.

    The weights are random (training changes no cost). Raises RuntimeError where the tours differ in more than a few rows (near ties).
    """
    _, scenario = world("tsp", n, batch)
    net = network()
    instances = given("tsp", scenario)
    tours: dict[str, Tensor] = {}

    def buffered() -> float:
        start = process_time()
        tours["buffer"] = greedy(net, instances, whole(instances), n).order
        return process_time() - start

    def masked() -> float:
        start = process_time()
        tours["masked"] = without_buffer(net, instances.token)
        return process_time() - start

    best = by_turns([buffered, masked], repeats)
    same = float((tours["buffer"] == tours["masked"]).all(1).double().mean())
    if same < 0.9:
        raise RuntimeError(f"with and without the buffer only {same:.0%} of the tours agree")
    return Result(f"BQ greedy decoding, TSP{n}, {batch} at once, tours/s", batch / best[0], batch / best[1], None)


def network() -> BqNet:
    """The small network with weights that mix tokens: residual branches start closed, which would hide a difference."""
    torch.manual_seed(0)
    net = BqNet("tsp", SHAPES["cpu"]).eval()
    for block in net.blocks:
        torch.nn.init.constant_(block.alpha, 0.5)
        torch.nn.init.constant_(block.beta, 0.5)
    return net


@torch.inference_mode()
def without_buffer(net: BqNet, token: Tensor) -> Tensor:
    """[B, N - 1] greedy tours with all N nodes in the sequence at every step, as a plain action mask suggests; token [B, N, 2]."""
    rows, n, _ = token.shape
    every = torch.arange(rows)
    free = torch.ones(rows, n, dtype=torch.bool)
    free[:, 0] = False
    origin = torch.zeros(rows, dtype=torch.int64)
    order = []
    for _ in range(n - 1):
        here = token[every, origin][:, None]
        nodes = torch.where(free[..., None], token, here)  # visited nodes must not stretch the features' unit of length
        sequence = torch.cat((here, nodes, token[:, :1]), 1)
        x = net.embed(features("tsp", sequence, token.new_ones(rows), None, net.shape.relative))
        assert net.ends is not None
        x = torch.cat((x[:, :1] + net.ends[0], x[:, 1:-1], x[:, -1:] + net.ends[1]), 1)
        ends = torch.ones(rows, 1, dtype=torch.bool)
        mask = torch.cat((ends, free, ends), 1)[:, None, None, :]
        for block in net.blocks:
            x = block(x, mask)
        origin = net.score(x).masked_fill(~free, -torch.inf).argmax(1)
        free = free.scatter(1, origin[:, None], False)
        order.append(origin)
    return torch.stack(order, 1)


def versions() -> str:
    names = [name for name in ("torch", "rl4co", "tensordict", "torchrl") if importlib.util.find_spec(name)]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


if __name__ == "__main__":
    print(versions())
    print(f"{'':44s} {'here':>14s} {'peer':>14s} {'ratio':>8s}")
    with one_thread():
        for result in rollouts():
            print(result)
        if not importlib.util.find_spec(PEER):
            print(INSTALL)
        print(decoding(), " (peer: without the index buffer)")
