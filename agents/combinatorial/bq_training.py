"""Training of bq-nco: imitate the next choice of well solved instances, in every sub-instance their solutions pass through.

`labels_of` makes the labels where HOME does not hold them yet; `train` goes on where an interrupted run stopped, bit for bit: step s draws its
batch from (seed, s) alone. What is saved and validated is the average of the weights over the last steps. Validation: greedy solutions of
labelled instances kept apart, their mean gap to the label.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.combinatorial.bq_data import GRID, Batch, Labels
from agents.combinatorial.bq_decode import K, given, greedy, whole, worth
from agents.combinatorial.bq_labels import EFFORT, load_labels, make_labels
from agents.combinatorial.bq_net import SHAPES, BqNet, Shape, seen, spec
from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint, save_checkpoint
from arena.learning.resuming import moment_shapes, moments, progress, restore_moments, write_log
from domains.combinatorial.kernel import Instances
from domains.combinatorial.scenarios import instances

VALID, GLANCE = 512, 128  # labels kept apart, and how many of them are looked at before the end
CLIP, DECAY, WARM = 1.0, 0.999, 0.05  # of the gradient's norm; of the average of weights; share of the steps over which the rate rises
FLOOR = 0.01  # of the highest rate, at the end
BESIDE = 0.5  # weight of the neighbours' loss
Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Size:
    """labels: solved instances of each set, VALID of them kept apart; batch: most sub-instances per step; tokens: most of a step
    steps: of a run, unless said otherwise; rate: highest learning rate
    every: steps between checkpoints and validations, of which a longer run makes as many
    effort: of the labels, times their default
    """

    shape: str
    labels: int
    batch: int
    tokens: int
    steps: int
    rate: float
    every: int
    device: str = "cpu"
    effort: int = 1


SIZES = {
    "cpu": Size("cpu", 20_000, 256, 6_144, 5_000, 2e-3, 500),
    "full": Size("full", 1_000_000, 1024, 110_000, 100_000, 1e-3, 2000, "cuda", effort=4),
}


class Teacher(nn.Module):
    """The network with what only its training needs: a pairwise head that tells which tokens the solution puts beside each other.

    The next node is one answer per pass; its neighbours are two for every token, from the same pass. Measured: half the steps to the same gap.
    """

    def __init__(self, problem: str, shape: Shape) -> None:
        super().__init__()
        self.net = BqNet(problem, shape)
        self.pair = nn.Linear(shape.d, 2 * shape.d) if problem != "kp" else None

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of the next choice among the legal ones, and of the neighbours (0 in kp)."""
        x = self.net.encode(batch.token, batch.left, batch.legal)
        logp = self.net.score(x).flatten(1).masked_fill(~batch.allowed, -torch.inf).log_softmax(1)
        chosen = -torch.where(batch.target > 0, batch.target * logp, 0.0).sum(1).mean()
        if self.pair is None:
            return chosen, torch.zeros_like(chosen)
        asking, asked = self.pair(x).chunk(2, -1)
        logits = (asking @ asked.transpose(1, 2)).float() * x.shape[-1] ** -0.5
        barred = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        if batch.legal is not None:
            barred = barred | ~seen(self.net.problem, batch.legal)[:, None, :]
        found = logits.masked_fill(barred, -1e9).log_softmax(-1).gather(2, batch.beside.clamp(min=0))
        known = batch.beside >= 0
        return chosen, -torch.where(known, found, 0.0).sum() / known.sum()


def scenario_of(arrays: dict[str, Any]) -> tuple[Instances, Tensor, Tensor]:
    """Labels as stored, as instances with what their solutions are worth (order and via too)."""
    names = ("demand", "capacity", "prize", "budget")
    found = {name: arrays[name] for name in names if name in arrays}
    if "coords" in arrays:
        found["coords"] = arrays["coords"].astype(np.float64) / GRID
    order = torch.from_numpy(arrays["order"]).long()
    via = torch.from_numpy(arrays["via"]).bool() if "via" in arrays else torch.zeros(len(order), 0, dtype=torch.bool)
    return instances(**found), order, via


class Validation:
    """Labelled instances kept apart."""

    def __init__(self, problem: str, arrays: dict[str, Any], device: torch.device) -> None:
        scenario, order, via = scenario_of(arrays)
        self.given = given(problem, scenario.to(device))
        solved = whole(self.given)
        solved.order, solved.via = order.to(device), via.to(device)
        self.best = worth(self.given, solved)

    def gap(self, net: BqNet, most: int = VALID) -> float:
        """% by which greedy solutions are worse than the labels, on average over the first `most`."""
        rows, best = self.given[:most], self.best[:most]
        found = worth(rows, greedy(net, rows, whole(rows), K))
        return float(100 * ((found - best) / best.abs().clamp(min=1e-9)).mean())


def rate_at(step: int, steps: int, highest: float) -> float:
    """One cycle: up in a straight line, down as a cosine."""
    warm = max(1, int(WARM * steps))
    if step < warm:
        return highest * (step + 1) / warm
    return highest * (FLOOR + (1 - FLOOR) * (0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def train(
    problem: str,
    sets: Sequence[str],
    *,
    seed: int,
    steps: int | None,
    folder: Path,
    home: Path,
    log: Log,
    size: str = "cpu",
    count: int | None = None,
) -> None:
    """Write a checkpoint folder (config.json, *.safetensors, training.jsonl); go on where `folder` holds an unfinished run of the same kind.

    sets: labels to learn from, each step from one of them: tsp20, kp-hard50, ...; count: of each set (default: the size's)
    home: where labels are kept (`labels/tsp20`). Raises ArenaError
    `train.device` where the size wants a GPU that is not there, `train.folder` where the folder holds another run, `train.sets` for labels of
    another problem, `train.labels` for too few, `train.diverged` where the loss is not finite, and what making labels raises.
    """
    setting = SIZES[size]
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise ArenaError("train.device", f"size {size!r} wants a CUDA device and there is none", "train with size=cpu")
    kinds = [kind_of(name, problem) for name in sets]
    device, steps = torch.device(setting.device), steps or setting.steps
    setting = replace(setting, labels=count or setting.labels, steps=steps, every=setting.every * -(-max(steps, setting.steps) // setting.steps))
    if setting.labels <= VALID:
        raise ArenaError("train.labels", f"{setting.labels} labels", f"{VALID} of them are kept apart to validate on: ask for more")
    run = {"problem": problem, "sets": list(sets), "seed": seed, **asdict(setting)}
    torch.manual_seed(seed)
    learner = Learner(problem, SHAPES[setting.shape], device, setting.rate)
    done, seconds, lines = learner.resume(folder, run, steps)
    if done >= steps:
        return
    found = [labels_of(*kind, setting, home, log) for kind in kinds]
    valid = [Validation(problem, {name: array[:VALID] for name, array in arrays.items()}, device) for arrays in found]
    labels = [Labels(problem, {name: array[VALID:] for name, array in arrays.items()}, device) for arrays in found]
    began, losses = perf_counter() - seconds, []
    for step in range(done, steps):
        rng = np.random.default_rng((seed, step))
        chosen = labels[int(rng.integers(len(labels)))] if len(labels) > 1 else labels[0]
        losses.append(learner.learn(chosen.batch(setting.batch, rng, tokens=setting.tokens), step, rate_at(step, steps, setting.rate)))
        finished = step + 1 == steps
        if finished or (step + 1) % setting.every == 0:
            loss = float(torch.stack(losses).mean())
            losses = []
            if not math.isfinite(loss):
                raise ArenaError("train.diverged", f"step {step + 1}: the loss is not finite", f"the last good checkpoint is in {folder}")
            most = VALID if finished else GLANCE
            gaps = {f"gap_{name}": round(each.gap(learner.average, most), 4) for name, each in zip(sets, valid, strict=True)}
            lines.append({"step": step + 1, "loss": round(loss, 5), **gaps, "seconds": round(perf_counter() - began, 1)})
            learner.save(folder, {"run": run, "done": step + 1, "seconds": lines[-1]["seconds"]}, finished, lines)
            log(lines[-1])


def kind_of(name: str, problem: str) -> tuple[str, int]:
    """("tsp", 20) of "tsp20". Raises ArenaError `train.sets` for what names no labels of the problem."""
    found = re.fullmatch(r"([a-z-]+?)(\d+)", name)
    if not found or found[1] not in EFFORT or found[1].removesuffix("-hard") != problem:
        raise ArenaError("train.sets", f"{name!r} names no labels to learn {problem} from", f"expected {problem}20 or the like (kp-hard50)")
    return found[1], int(found[2])


def labels_of(kind: str, n: int, setting: Size, home: Path, log: Log) -> dict[str, Any]:
    """The labels of a set, made where they are not there yet."""
    folder = home / "labels" / f"{kind}{n}"
    workers = (os.cpu_count() or 1) if setting.device == "cuda" else 1
    make_labels(kind, n, setting.labels, folder, setting.effort * EFFORT[kind], workers, lambda done: log({"labels": float(done)}))
    return load_labels(folder, setting.labels)


class Learner:
    """Network, average of its weights, and optimiser."""

    def __init__(self, problem: str, shape: Shape, device: torch.device, rate: float) -> None:
        self.teacher, self.average = Teacher(problem, shape).to(device), BqNet(problem, shape).to(device)
        self.net = self.teacher.net
        self.average.load_state_dict(self.net.state_dict())
        self.average.requires_grad_(False)
        self.device = device
        self.optimizer = torch.optim.AdamW(self.teacher.parameters(), lr=rate, fused=device.type == "cuda")
        self.asked = torch.compile(self.teacher, dynamic=True) if device.type == "cuda" else self.teacher

    def learn(self, batch: Batch, step: int, rate: float) -> Tensor:
        """One step; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, neighbours = self.asked(batch)
        self.optimizer.zero_grad()
        (loss + BESIDE * neighbours).backward()
        torch.nn.utils.clip_grad_norm_(self.teacher.parameters(), CLIP)
        self.optimizer.step()
        keep = min(DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)
        return loss.detach()

    def save(self, folder: Path, config: dict[str, Any], finished: bool, lines: list[dict[str, float]], **more: Any) -> None:
        """Weights in half precision once finished, else all that going on needs; `more`: further parts for that."""
        problem, shape = self.net.problem, self.net.shape
        parts = {"model": {name: tensor.half() if finished else tensor for name, tensor in self.average.state_dict().items()}}
        if not finished:
            parts |= {"raw": self.teacher.state_dict(), "optimizer": moments(self.optimizer), **more}
        write_log(folder, lines)
        save_checkpoint(folder, {"spec": spec(problem), "shape": shape.to_dict(), **config}, parts)

    def resume(self, folder: Path, run: dict[str, Any], end: int, **more: nn.Module) -> tuple[int, float, list[dict[str, float]]]:
        """Load a run of this kind that has not come to its `end`, further parts too: steps done, seconds spent, its log."""
        done, seconds, lines = progress(folder, spec(self.net.problem), run, "step")
        if 0 < done < end:
            modules: dict[str, nn.Module] = {"model": self.average, "raw": self.teacher, **more}
            wanted = {part: {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} for part, module in modules.items()}
            found = load_checkpoint(folder, spec(self.net.problem), {**wanted, "optimizer": moment_shapes(self.teacher.parameters())})
            for part, module in modules.items():
                module.load_state_dict(found.parts[part])
            restore_moments(self.optimizer, found.parts["optimizer"])
        return done, seconds, lines
