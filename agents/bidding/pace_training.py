"""Training of pace-net: the auctions are played exactly, and differentiated as if winning were a smooth function of the bid.

An episode's value is a function of the network's leans through the money they leave. Wins, payments and budgets are the kernel's own (each
auction in order, ties won, the budget clamping); their derivative with respect to ln(bid) is that of a logistic win curve
1 / (1 + (z / bid)^(1 / width)). Within a slot the sensitivities of money and value to (g, h, q, budget at its start) are carried forward
by hand, four numbers a row; between slots, through the network and its inputs, they go by automatic differentiation. The inferences about
values and prices enter the network but are not differentiated.

Half of each batch has its law changed once, as tasks with `shift` do, and says so to the network; so one model plays both kinds of task.
Update u draws from its own stream of (seed, u): an interrupted run goes on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.bidding.pace_belief import Belief, Knowledge, knowledge
from agents.bidding.pace_net import SPEC, PaceModel, features
from agents.bidding.pace_slot import PlaySlot, Slot
from arena.digest import digest
from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint, save_checkpoint
from arena.learning.resuming import moment_shapes, moments, progress, restore_moments, write_log
from arena.task import TaskView
from domains.bidding.bounds import lp_bound
from domains.bidding.generator import SHIFT_RANGE
from domains.bidding.kernel import Bidding


@dataclass(frozen=True)
class Size:
    """pool: scenarios drawn once; batch: scenarios per update; updates: of a run, unless said otherwise

    every: updates between checkpoints; rate: highest learning rate
    """

    pool: int
    batch: int
    updates: int
    device: str = "cpu"
    every: int = 25
    rate: float = 3e-3


SIZES = {"cpu": Size(16_384, 1024, 400), "full": Size(131_072, 4096, 2000, "cuda", every=250)}
WARM = 20  # updates over which the learning rate rises; it then falls as a cosine
SHORT, SHORT_SLOTS = 10, 20  # a fourth of a batch more is played for a tenth of the episode, in 20 slots, for tasks of fewer auctions
CLIP = 0.05  # of the gradient's norm


@dataclass(frozen=True)
class Batch:
    """Scenarios as training wants them: series auction-major."""

    theta: Tensor  # [T, B] float64
    price: Tensor  # [T, B] int64
    budget: Tensor  # [B] float64
    campaign: Tensor  # [B]
    bound: Tensor  # [B] float64
    shift: Tensor  # [B] bool


def play(model: PaceModel, batch: Batch, known: Knowledge, length: int, max_bid: int) -> Tensor:
    """[B] the value won over the bound, playing every scenario of the batch to its end in slots of `length`; differentiable in the weights."""
    horizon = len(batch.theta)
    belief = Belief(known, batch.campaign, -(-horizon // length), batch.shift)
    money, total = batch.budget, torch.zeros_like(batch.budget)
    for start in range(0, horizon, length):
        stop, left = min(start + length, horizon), horizon - start
        seen = features(known, belief, money, batch.budget, left, horizon, max_bid)
        slot = Slot(batch.theta[start:stop], batch.price[start:stop], batch.campaign, left, max_bid)
        money, value, bids, prices = PlaySlot.apply(model(seen.float()).double(), money, slot, known)
        total = total + value
        belief.learn(slot.theta, bids, prices)
    return total / batch.bound


class Pool:
    """Training scenarios of a task, drawn once; `batch` adds the change of law to the second half of the rows it picks."""

    def __init__(self, task: TaskView, size: int, seed: int, device: torch.device) -> None:
        first = seed * size
        drawn = [task.sample("train", range(i, min(i + 1024, first + size))) for i in range(first, first + size, 1024)]
        self.shifted, self.device = bool(task.config.get("shift", False)), device
        self.theta = torch.cat([d.theta for d in drawn]).float()  # exact: the generator rounds to 16 bits
        self.price = torch.cat([d.price for d in drawn]).short()
        self.budget, self.campaign, self.bound = (torch.cat([getattr(d, name) for d in drawn]) for name in ("budget", "campaign", "bound"))

    def batch(self, size: int, rng: np.random.Generator, max_price: int, part: int = 1) -> Batch:
        """`size` scenarios picked at random; with `part` > 1 only their first 1 / part, for as much of the budget."""
        rows = rng.integers(0, len(self.budget), size)
        length = max(2, self.theta.shape[1] // part)
        theta, price = self.theta[rows, :length].double().numpy(), self.price[rows, :length].numpy().astype(np.int32)
        bound, shift, budget = self.bound[rows].clone(), np.full(size, self.shifted), (self.budget[rows] // part).clamp(min=1)
        fresh = slice(0 if part > 1 else size // 2, None)
        if not self.shifted:
            half = slice(size // 2, None)
            shift[half] = True
            theta[half], price[half] = changed(theta[half], price[half], rng, max_price)
        if part > 1 or not self.shifted:
            bound[fresh] = torch.from_numpy(lp_bound(theta[fresh], price[fresh], budget[fresh].numpy()))
        series = torch.from_numpy(theta.T.copy()), torch.from_numpy(price.T.astype(np.int64))
        parts = *series, budget.double(), self.campaign[rows], bound, torch.from_numpy(shift)
        return Batch(*(part.to(self.device) for part in parts))


def changed(theta: Any, price: Any, rng: np.random.Generator, max_price: int) -> tuple[Any, Any]:
    """Values and prices [B, T] multiplied by factors of their own from a random auction on; the range of the tasks with `shift`."""
    rows, length = theta.shape
    later = np.arange(length) >= rng.integers(1, length, rows)[:, None]
    by_price, by_value = np.exp(rng.uniform(*SHIFT_RANGE, (2, rows, 1)))
    return np.where(later, np.minimum(theta * by_value, 1.0), theta), np.where(later, np.minimum(np.rint(price * by_price), max_price), price)


def train(task: TaskView, *, seed: int, updates: int | None, folder: Path, log: Callable[[dict[str, float]], None], size: str = "cpu") -> None:
    """Write a checkpoint folder (config.json, *.safetensors, training.jsonl); go on where `folder` holds an unfinished run of the same kind.

    Raises ArenaError `train.task` for tasks without a budget of their own, `train.device` where the size wants a GPU that is not there,
    `train.folder` where the folder holds another run, `train.diverged` where the objective is not finite.
    """
    domain, setting = task.domain, SIZES[size]
    if not isinstance(domain, Bidding) or domain.cpa or domain.padded or domain.payment != "second":
        raise ArenaError("train.task", f"pace-net does not learn on {task.id}", "train it on a second-price task with a budget: bidding/standard-v1")
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise ArenaError("train.device", f"size {size!r} wants a CUDA device and there is none", "train with size=cpu")
    device, updates = torch.device(setting.device), updates or setting.updates
    run = {
        "task": task.id, "task_config": digest(dict(task.config)), "seed": seed, "updates": updates, "size": size,
        "batch": setting.batch, "pool": setting.pool,
    }  # fmt: skip

    torch.manual_seed(seed)
    model = PaceModel().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.rate)
    done, seconds, lines = _resume(folder, run, model, optimizer)
    if done >= updates:
        return
    began = perf_counter() - seconds
    known, pool = knowledge(domain.histories).to(device), Pool(task, setting.pool, seed, device)
    for update in range(done, updates):
        rng = np.random.default_rng((seed, update))
        for group in optimizer.param_groups:
            group["lr"] = setting.rate * min((update + 1) / WARM, 0.5 + 0.5 * math.cos(math.pi * update / updates))
        batch = pool.batch(setting.batch, rng, domain.max_bid)
        ratio = play(model, batch, known, domain.slot, domain.max_bid)
        brief = pool.batch(setting.batch // 4, rng, domain.max_bid, SHORT)
        brief_ratio = play(model, brief, known, max(1, domain.horizon // SHORT // SHORT_SLOTS), domain.max_bid)
        optimizer.zero_grad()
        (-ratio.mean() - brief_ratio.mean() / 4).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        if not torch.isfinite(norm):
            raise ArenaError("train.diverged", f"update {update}: the gradient is not finite", f"the last good checkpoint is in {folder}")
        optimizer.step()
        fixed = ratio.detach()[~batch.shift]
        line = {
            "update": update + 1,
            "seconds": round(perf_counter() - began, 2),
            "auctions": (update + 1) * setting.batch * domain.horizon,
            "ratio": float(fixed.mean()) if len(fixed) else float("nan"),
            "ratio_shifted": float(ratio.detach()[batch.shift].mean()),
            "ratio_short": float(brief_ratio.detach().mean()),
            "gradient": float(norm),
        }
        line = {name: value for name, value in line.items() if not math.isnan(value)}
        lines.append(line)
        finished = update + 1 == updates
        if finished or (update + 1) % setting.every == 0:
            _save(folder, {"spec": SPEC, "run": run, "done": update + 1, "seconds": line["seconds"]}, model, None if finished else optimizer, lines)
        log(line)


def _save(folder: Path, config: dict[str, Any], model: PaceModel, optimizer: torch.optim.Adam | None, lines: list[dict[str, float]]) -> None:
    parts = {"model": model.state_dict()}
    if optimizer is not None:
        parts["optimizer"] = moments(optimizer)
    write_log(folder, lines)
    save_checkpoint(folder, config, parts)


def _resume(folder: Path, run: dict[str, Any], model: PaceModel, optimizer: torch.optim.Adam) -> tuple[int, float, list[dict[str, float]]]:
    """Load an unfinished run of this kind into model and optimizer: updates done, seconds spent, its log."""
    done, seconds, lines = progress(folder, SPEC, run, "update")
    if 0 < done < run["updates"]:
        found = load_checkpoint(folder, SPEC, {"model": model.shapes(), "optimizer": moment_shapes(model.parameters())})
        model.load_state_dict(found.parts["model"])
        restore_moments(optimizer, found.parts["optimizer"])
    return done, seconds, lines
