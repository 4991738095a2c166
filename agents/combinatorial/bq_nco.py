"""bq-nco: the next node by a transformer that sees the instance that is left (Drakulic et al., NeurIPS 2023, arXiv 2301.03313).

Plans the whole instance at its first step, as all planners here. `decode` greedy takes the likeliest node; beam keeps the `beam` likeliest
partial solutions and takes the best of them by true length or value, the greedy one among them. `augment` solves as many views of the instance
(the 8 symmetries of the square; tours also begin at other nodes) and keeps the best. `search` re-constructs so many random stretches of the
solution and keeps what is better (bq_search.py). Only the `k` nodes nearest to the origin enter the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from agents.combinatorial.bq_decode import VIEWS, K, given, solve
from agents.combinatorial.bq_labels import HARD
from agents.combinatorial.bq_net import PROBLEMS, BqNet, load_net
from agents.combinatorial.bq_search import improve
from agents.combinatorial.planner import Plan, Planner, Seen
from arena import settings
from arena.agent import Brief
from arena.errors import ArenaError
from arena.task import TaskView
from domains.combinatorial.kernel import Instances

SHIPPED = Path(__file__).parent / "weights" / "bq_nco"


class BqNco(Planner):
    """A trained network builds the solution, node by node.

    checkpoint: a folder that `train` wrote, or one that holds several as seed-0, seed-1, ...; by default the weights shipped for the problem
    decode: greedy | beam; beam: width; k: most nodes that enter the network; augment: views, 1..8; search: stretches re-constructed
    Of a training run (playing depends on none): size, see bq_training.SIZES; mix: labels it learns from beside those of the task's own size
    (tsp50, kp-hard50, ...); count: labels of each, by default the size's
    teacher: what it imitates, labels | itself (bq_selflabel.py, which goes on from `checkpoint` where one is given)
    """

    nature = "learned"
    problems = PROBLEMS
    wants_points = True

    def __init__(
        self,
        checkpoint: str | None = None,
        decode: Literal["greedy", "beam"] = "greedy",
        beam: int = 16,
        k: int = K,
        augment: int = 1,
        search: int = 0,
        size: Literal["cpu", "full"] = "cpu",
        mix: Sequence[str] = (),
        count: int | None = None,
        teacher: Literal["labels", "itself"] = "labels",
    ) -> None:
        if k < 2 or beam < 1 or not 1 <= augment <= VIEWS or search < 0:
            asked = f"k = {k}, beam = {beam}, augment = {augment}, search = {search}"
            raise ArenaError("agent.parameters", f"bq-nco: {asked}", f"k is at least 2, beam at least 1, augment 1..{VIEWS}, search at least 0")
        self.folder = Path(checkpoint) if checkpoint else None
        self.width = beam if decode == "beam" else 1
        self.k, self.augment, self.search = k, augment, search
        self.size, self.mix, self.count, self.teacher = size, tuple(mix), count, teacher

    def check(self, task: TaskView) -> None:
        """Raises ArenaError where the problem is not among its own, distances are a matrix, or there are no weights that fit."""
        super().check(task)
        self._net(task, 0)

    def begin(self, brief: Brief) -> None:
        super().begin(brief)
        self.device = brief.device
        self.net = self._net(brief.task, brief.seed).to(brief.device)

    def _net(self, task: TaskView, seed: int) -> BqNet:
        problem: str = task.domain.problem  # type: ignore[attr-defined]
        return load_net(self.folder or SHIPPED / problem, problem, seed)

    def plan(self, seen: Seen) -> Plan:
        instances = given(seen.problem, scenario_of(seen).to(self.device))
        found = solve(self.net, instances, width=self.width, k=self.k, views=self.augment)
        if self.search:
            found = improve(self.net, instances, found, self.search, torch.from_numpy(seen.seeds).to(self.device), self.k)
        via = found.via.numpy(force=True) if seen.problem == "cvrp" else None
        return found.order.numpy(force=True), via

    def train(self, task: TaskView, *, seed: int, folder: Path, log: Callable[[dict[str, float]], None], budget: int | None = None) -> None:
        """Train for `budget` steps (default: the size's), or go on where an interrupted run of the same kind left off in `folder`."""
        from agents.combinatorial import bq_selflabel, bq_training

        super().check(task)
        domain = task.domain
        problem: str = domain.problem  # type: ignore[attr-defined]
        if getattr(domain, "metrics_told", False):
            raise ArenaError("train.task", f"{task.id} replays files and has no training instances", "train it on combinatorial/tsp100-v1")
        n: int = domain.n - (problem in ("cvrp", "op"))  # type: ignore[attr-defined]
        if self.teacher == "labels":
            kind = HARD if task.config.get("hard") else problem
            sets = [f"{kind}{n}", *self.mix]
            home = settings.home()
            bq_training.train(problem, sets, seed=seed, steps=budget, folder=folder, home=home, log=log, size=self.size, count=self.count)
        else:
            bq_selflabel.train(problem, n, self.folder, seed=seed, rounds=budget, folder=folder, log=log, size=self.size)


def scenario_of(seen: Seen) -> Instances:
    """The instances that a planner saw, as the kernel's record."""
    rows, n = len(seen), seen.n
    parts = {name: torch.from_numpy(getattr(seen, name)) for name in ("coords", "metric", "demand", "capacity", "prize", "budget")}
    return Instances(
        size=torch.full((rows,), n, dtype=torch.int64),
        matrix=torch.zeros(rows, 0, 0, dtype=torch.float64),
        best=torch.full((rows,), np.nan, dtype=torch.float64),
        **parts,
    )
