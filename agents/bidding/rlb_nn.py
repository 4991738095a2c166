"""The agent of RLB-NN with MapA: one small network per campaign, for horizons no table fits (agents/bidding/difference_net.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from agents.bidding.bidder import Bidder, Observation
from agents.bidding.difference_net import DifferenceNet, Frame, fit
from agents.bidding.value_tables import PriceModel
from arena.agent import Brief
from arena.errors import ArenaError
from arena.settings import setting
from arena.task import TaskView
from domains.bidding.history import History

SHIPPED = Path(__file__).parent / "weights" / "rlb-nn"
LEVEL = 0.5  # the table behind a network has budgets up to c0 = 1/2


class RlbNn(Bidder):
    """RLB whose marginal values of budget come from a network; run seed r plays training seed r mod count.

    checkpoint: folder with `seed-<r>/<campaign>/`; the shipped ones where not given.
    auctions: T0 of the table that training takes its labels from.
    """

    nature = "learned"

    def __init__(self, checkpoint: str | None = None, auctions: int = 1000) -> None:
        self.folder, self.auctions = Path(checkpoint) if checkpoint else SHIPPED, auctions

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `bidding.artefact` where a campaign has no network, or one of another price law."""
        for known in task.domain.histories:  # type: ignore[attr-defined]
            self.net(known, 0)

    def net(self, known: History, seed: int) -> DifferenceNet:
        seeds = sorted(self.folder.glob("seed-*"))
        if not seeds:
            raise ArenaError("bidding.artefact", f"{self.folder} holds no seed-<r> folder", "arena train rlb-nn -t TASK makes one")
        return _loaded(seeds[seed % len(seeds)] / known.campaign, known)

    def begin(self, brief: Brief) -> None:
        super().begin(brief)
        self.seed = brief.seed

    def prepare(self, obs: Observation) -> None:
        self.nets = {campaign: self.net(self.histories[campaign], self.seed) for campaign in self.rows}

    def bid(self, obs: Observation) -> Tensor:
        bids = torch.empty(len(obs["B"]), dtype=torch.int32)
        for campaign, rows in self.rows.items():
            bids[rows] = self.nets[campaign].bid(self.horizon - self.step, obs["b"][rows], obs["theta"][rows]).to(torch.int32)
        return bids

    def train(self, task: TaskView, *, seed: int, budget: int, folder: Path, log: Callable[[dict[str, float]], None]) -> None:
        """Fit one network per campaign of the task, `budget` rounds each, to exact labels of the history's price law."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "training.jsonl").open("w") as lines:
            for number, known in enumerate(task.domain.histories):  # type: ignore[attr-defined]
                frame = Frame(_model(known), known.cpm, self.auctions, known.budget(LEVEL, self.auctions))

                def note(record: dict[str, float], number: int = number) -> None:
                    log({"campaign": float(number), **record})
                    lines.write(json.dumps({"campaign": number, **record}) + "\n")

                fit(frame, seed=seed, rounds=budget, log=note, device=setting("device").value).save(folder / known.campaign)


def _model(known: History) -> PriceModel:
    return PriceModel(known.price_pmf(), known.theta_bar)


@cache
def _loaded(folder: Path, known: History) -> DifferenceNet:
    return DifferenceNet.load(folder, _model(known))
