"""What a learning agent wrote down while it learned: `seed-N/training.jsonl` beside its weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from arena import registry, settings
from arena.errors import ArenaError
from arena.store import AgentRow

STEPS = ("step", "update", "round", "epoch", "iteration", "episode")  # what counts the progress of a training
TIMES = ("seconds", "time")
LONGEST = 400  # points drawn of one line
MOST_BYTES = 20_000_000


def folder_of(agent: AgentRow) -> Path | None:
    """Where this version's training seeds lie: its artifact, the checkpoint it names, or the weights its package ships, if they still are those."""
    artifact = settings.home() / "artifacts" / str(agent.artifact_digest)
    if agent.artifact_digest and artifact.is_dir():
        return artifact
    if agent.kind != "builtin":
        return None
    checkpoint = (agent.spec.get("parameters") or {}).get("checkpoint")
    if checkpoint:
        return Path(str(checkpoint)).expanduser()
    try:
        spec = registry.agents().get(registry.parse(agent.name)[0])
        if spec is None or not spec.weights or registry.candidate(str(agent.spec["reference"])).digest != agent.artifact_digest:
            return None  # or other weights by now
    except ArenaError:
        return None
    module = importlib.util.find_spec(spec.target.split(":")[0])
    return None if module is None or module.origin is None else Path(module.origin).parent / spec.weights


def curves(folder: Path) -> pd.DataFrame:
    """Long form: `seed`, `part` (of a training in several parts, else ""), `step`, then one column of floats per figure that was logged.

    Lines that cannot be read are left out; a column is a figure where it holds floats, and counts or names something otherwise.
    """
    found = []
    for path in sorted(folder.glob("seed-*/training.jsonl")) or sorted(folder.glob("training.jsonl")):
        rows = _lines(path)
        if not rows:
            continue
        frame = pd.DataFrame(rows)
        step = next((name for name in STEPS if name in frame), None)
        counted = frame[step].astype(float) if step else pd.Series(np.arange(len(frame), dtype=float))
        part = (counted.diff() < 0).cumsum()
        figures = [name for name in frame if frame[name].dtype.kind == "f" and name not in (*TIMES, step)]
        same = [
            name for name in frame
            if name not in (*figures, *TIMES, step) and part.max() and (frame.groupby(part)[name].nunique() == 1).all() and frame[name].nunique() > 1
        ]  # fmt: skip
        words = frame[same].apply(lambda row: ", ".join(f"{key} {value}" for key, value in row.items()), axis=1) if same else part.astype(str)
        seed = path.parent.name if path.parent != folder else "seed"
        found.append(frame[figures].assign(seed=seed, part=words if part.max() else "", step=counted))
    if not found:
        return pd.DataFrame()
    whole = pd.concat(found, ignore_index=True)
    return whole[["seed", "part", "step", *(name for name in whole if name not in ("seed", "part", "step"))]]


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most 400 rows of each line, evenly spread, the first and the last among them."""
    parts = [g.iloc[np.unique(np.linspace(0, len(g) - 1, min(len(g), LONGEST)).round().astype(int))] for _, g in frame.groupby(["seed", "part"])]
    return pd.concat(parts, ignore_index=True)


def _lines(path: Path) -> list[dict[str, Any]]:
    if path.stat().st_size > MOST_BYTES:
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append({str(key): value for key, value in row.items() if isinstance(value, int | float | str)})
    return found
