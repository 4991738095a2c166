"""Training that goes on where it was stopped: which run a folder holds, its log, and Adam's moments as a part of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint

LOG = "training.jsonl"
Line = dict[str, float]


def write_log(folder: Path, lines: Sequence[Line]) -> None:
    """The log of a run so far, a line of JSON each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))


def progress(folder: Path, spec: Mapping[str, Any], run: Mapping[str, Any], clock: str) -> tuple[int, float, list[Line]]:
    """How far the run in a folder came: steps `done`, `seconds` spent (both of its config) and its log up to there; 0 where there is none yet.

    run: what tells runs apart, as saved under that name in the config; clock: the log's name for steps done. Raises ArenaError `train.folder`
    where the folder holds another run, and as load_checkpoint.
    """
    if not (folder / "config.json").exists():
        return 0, 0.0, []
    config = load_checkpoint(folder, spec, {}).config
    if config["run"] != run:
        pairs = [(key, config["run"].get(key), value) for key, value in run.items()]
        different = ", ".join(f"{key} {there!r} instead of {value!r}" for key, there, value in pairs if there != value)
        raise ArenaError("train.folder", f"{folder} holds another training run: {different}", "choose another folder, or train as that run did")
    done = int(config["done"])
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return done, float(config["seconds"]), [line for line in lines if line[clock] <= done]


def moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """State of an Adam or AdamW by number and name: 0.step, 0.exp_avg, 0.exp_avg_sq, 1.step, ..."""
    return {f"{which}.{name}": tensor for which, entry in optimizer.state_dict()["state"].items() for name, tensor in entry.items()}


def moment_shapes(parameters: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of the moments of an optimiser of these parameters."""
    found: dict[str, tuple[int, ...]] = {}
    for which, parameter in enumerate(parameters):
        shape = tuple(parameter.shape)
        found |= {f"{which}.step": (), f"{which}.exp_avg": shape, f"{which}.exp_avg_sq": shape}
    return found


def restore_moments(optimizer: Optimizer, found: Mapping[str, Tensor]) -> None:
    """Put moments back into an optimiser of the same parameters."""
    state = optimizer.state_dict()
    for key, tensor in found.items():
        which, name = key.split(".")
        state["state"].setdefault(int(which), {})[name] = tensor
    optimizer.load_state_dict(state)
