"""Training of bq-nco without labels: the network imitates the best that it, its search and a local search find.

Each round draws fresh instances and keeps the best of: greedy solutions of the 8 views, `samples` drawn without replacement, and what
re-construction of stretches makes of those; tours then go through 2-opt and Or-opt. The network imitates the rounds so far for some steps. It
becomes the one that solves only if its greedy solutions of the validation instances are better than those of the one before
(Gumbeldore, arXiv 2403.15180; SIL, arXiv 2405.03018). Starts from a checkpoint, or untrained where there is none. Round r draws from
(seed, r) alone: an interrupted run goes on bit for bit, its instances and solutions are kept in `folder`/found.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from agents.combinatorial.bq_data import Labels
from agents.combinatorial.bq_decode import VIEWS, Given, K, Rest, beam, best_of, given, greedy, solve, whole, worth
from agents.combinatorial.bq_labels import SHARD, load_labels, store, stream
from agents.combinatorial.bq_net import SHAPES, BqNet, load_net
from agents.combinatorial.bq_search import improve
from agents.combinatorial.bq_training import Learner, Log
from agents.combinatorial.local_search import improve_tour
from arena.errors import ArenaError
from domains.combinatorial.scenarios import instances as record

FAR = 10**9  # instances of the stream from here on: no label is made of them


@dataclass(frozen=True)
class Size:
    """rounds: unless said otherwise; samples, search: of the teacher; steps, batch, rate: of each round's imitation; valid: instances"""

    rounds: int
    samples: int
    search: int
    steps: int
    batch: int
    rate: float
    valid: int
    device: str = "cpu"


SIZES = {"cpu": Size(10, 16, 20, 200, 256, 3e-4, 512), "full": Size(100, 32, 100, 1000, 1024, 2e-4, 1000, "cuda")}


def train(problem: str, n: int, start: Path | None, *, seed: int, rounds: int | None, folder: Path, log: Log, size: str = "cpu") -> None:
    """Write a checkpoint folder (config.json, *.safetensors, training.jsonl), or go on where `folder` holds an unfinished run of the same kind.

    start: the checkpoint to go on from; None: an untrained network. Raises ArenaError `train.device`, `train.folder`, and as load_net.
    """
    setting = SIZES[size]
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise ArenaError("train.device", f"size {size!r} wants a CUDA device and there is none", "train with size=cpu")
    device, rounds = torch.device(setting.device), rounds or setting.rounds
    torch.manual_seed(seed)
    begun = load_net(start, problem, seed) if start else BqNet(problem, SHAPES[size])
    learner, solver = Learner(problem, begun.shape, device, setting.rate), BqNet(problem, begun.shape).to(device)
    for net in (learner.net, learner.average, solver):
        net.load_state_dict(begun.state_dict())
    solver.requires_grad_(False)
    setting = replace(setting, rounds=rounds)
    run = {"problem": problem, "n": n, "seed": seed, "teacher": "itself", "shape": begun.shape.to_dict(), **asdict(setting)}
    done, seconds, lines = learner.resume(folder, run, rounds, solver=solver)
    if done >= rounds:
        return
    began = perf_counter() - seconds
    valid = given(problem, record(**stream(problem, n, FAR - setting.valid, setting.valid)).to(device))
    for turn in range(done, rounds):
        found = taught(solver, problem, stream(problem, n, FAR + (seed * rounds + turn) * SHARD, SHARD), setting, (seed, turn), device)
        store(folder / "found", turn, found)
        labels = Labels(problem, load_labels(folder / "found", (turn + 1) * SHARD), device)
        losses = []
        for step in range(turn * setting.steps, (turn + 1) * setting.steps):
            losses.append(learner.learn(labels.batch(setting.batch, np.random.default_rng((seed, step))), step + 1000, setting.rate))
        before, after = (float(worth(valid, greedy(net, valid, whole(valid), K)).mean()) for net in (solver, learner.average))
        if after < before:
            solver.load_state_dict(learner.average.state_dict())
        line = {"step": turn + 1, "loss": round(float(torch.stack(losses).mean()), 5), "solver": round(before, 5), "cost": round(after, 5)}
        lines.append({**line, "seconds": round(perf_counter() - began, 1)})
        finished = turn + 1 == rounds
        if finished:  # what plays is the network that solved best
            learner.average.load_state_dict(solver.state_dict())
        learner.save(folder, {"run": run, "done": turn + 1, "seconds": lines[-1]["seconds"]}, finished, lines, solver=solver.state_dict())
        log(lines[-1])


def taught(net: BqNet, problem: str, arrays: dict[str, Any], setting: Size, key: tuple[int, int], device: torch.device) -> dict[str, Any]:
    """Instances {name: [B, ...]} with the best solutions found of them: order [B, T] int16, via [B, T] uint8."""
    instances = given(problem, record(**arrays).to(device))
    luck = torch.Generator().manual_seed(int(np.random.default_rng(key).integers(2**62)))
    drawn = beam(net, instances, whole(instances), K, setting.samples, luck)
    best = best_of(instances, [solve(net, instances, views=VIEWS), drawn])
    seeds = torch.randint(2**62, (len(instances),), generator=luck).to(device)
    best = improve(net, instances, best, setting.search, seeds, K)
    if problem == "tsp":
        shorten(instances, best)
    return {**arrays, "order": best.order.cpu().numpy().astype(np.int16), "via": best.via.cpu().numpy().astype(np.uint8)}


def shorten(instances: Given, best: Rest) -> None:
    """Tours [B] made local optima of 2-opt and Or-opt, in place."""
    for row, points in enumerate(instances.scenario.coords.cpu().numpy()):
        matrix = np.sqrt(((points[:, None] - points) ** 2).sum(-1))
        tour = np.concatenate(([0], best.order[row].cpu().numpy()))
        best.order[row] = torch.from_numpy(improve_tour(matrix, tour, 0, 0)[1:]).to(best.order.device)
