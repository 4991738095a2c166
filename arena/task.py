"""Tasks: a frozen configuration, frozen scenarios, frozen references. Change anything and it is another version."""

from __future__ import annotations

import inspect
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arena import registry
from arena.digest import array_digest, digest
from arena.domain import Domain, Metric
from arena.errors import ArenaError
from arena.record import Record, batch
from arena.seeds import SPLITS, scenario_seeds

Vector = NDArray[np.float64]
PIECE = 256  # scenarios under one digest


@dataclass(frozen=True)
class TaskView:
    """What an agent may hold of its task: identity, public knowledge, training scenarios; never the test set.

    limits: what an agent may use (arena.isolation.Limits); reference: makes the task again, with its parameters
    """

    id: str
    domain: Domain
    config: Mapping[str, Any]
    draw: Callable[[str, Sequence[int]], Record]
    limits: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""

    def sample(self, split: str, indices: Sequence[int]) -> Record:
        """Scenarios of the `train` or `val` split (unbounded). Raises ArenaError for the test split, which only judges."""
        if split not in ("train", "val"):
            raise ArenaError("task.split", f"agents may not draw from the {split!r} split", "train and tune on task.sample('train', indices)")
        return self.draw(split, indices)


@dataclass(frozen=True)
class Task:
    """A task as its domain registers it.

    id: `domain/name-vN`
    tier: tiny | standard | large | real
    n: scenarios in the test set
    config: everything that defines the task and is not code (goes into the digest)
    draw: (split, indices, seeds) -> scenarios; by default the domain's `sample(seeds)`. Real data ignores the seeds.
    references: (task) -> vectors of length n: `ref0` and `ref1` of the primary metric, `group`, `cluster`, further lines
    normalise, headline, floor: see docs/scoring.md
    function: where headline is "of_means": (means, vectors) -> [...], means {metric: [..., group]} with groups in sorted order,
        vectors as frozen; constants it uses stand in `config`, where the digest sees them
    bounded: ref1 is a proven bound, so a score above 1 is a bug
    candidates: roles that the judged agent plays, the one whose score counts first; fill: role -> frozen agent that plays it (its digest is
        part of the task's)
    outcome: in cross-play, the metric that says what a match was to the first candidate role: 1 won, 0.5 drawn, 0 lost; empty where nobody
        wins or loses
    blocks: scenario indices where a block of equal shape starts; no chunk crosses one
    chunk: scenarios a chunk should have (at most)
    limits: what an agent may use, where that differs from `arena.isolation.Limits`
    reference: as which the registry made it, with parameters; empty where it did not
    """

    id: str
    domain: Domain
    tier: Literal["tiny", "standard", "large", "real"]
    n: int
    config: Mapping[str, Any]
    references: Callable[[Task], dict[str, Vector]]
    summary: str = ""
    draw: Callable[[str, Sequence[int], Sequence[int]], Record] | None = None
    normalise: Literal["scenario", "task"] = "scenario"
    headline: Literal["mean", "iqm", "of_means"] = "mean"
    floor: float = -1.0
    bounded: bool = True
    function: Callable[[Mapping[str, Vector], Mapping[str, Vector]], Vector] | None = None
    candidates: tuple[str, ...] = ()
    fill: Mapping[str, str] = field(default_factory=dict)
    outcome: str = ""
    groups: tuple[str, ...] = ()
    blocks: tuple[int, ...] = (0,)
    chunk: int = 256
    limits: Mapping[str, float] = field(default_factory=dict)
    frozen: Path | None = None
    version: int = 1
    reference: str = ""

    def __post_init__(self) -> None:
        names = [m.name for m in self.domain.metrics_spec] if self.outcome else []
        if self.outcome and (self.pair is None or self.outcome not in names):
            why = "it has no two candidate roles of one seat" if self.pair is None else f"metrics: {', '.join(names)}"
            raise ArenaError("task.outcome", f"{self.id}: outcome {self.outcome!r} is no metric of a match between two agents: {why}")

    # ---- scenarios ------------------------------------------------------------------------------------------------

    def sample(self, split: str, indices: Sequence[int]) -> Record:
        """The scenarios `indices` of a split; each is a pure function of (task id, split, index)."""
        if split not in SPLITS:
            raise ArenaError("task.split", f"no split is called {split!r}", f"splits: {', '.join(SPLITS)}")
        if split == "test" and len(indices) and not 0 <= min(indices) <= max(indices) < self.n:
            raise ArenaError("task.index", f"{self.id} has scenarios 0..{self.n - 1}; asked for {min(indices)}..{max(indices)}")
        seeds = scenario_seeds(self.id, split, indices)
        return self.draw(split, indices, seeds) if self.draw else self.domain.sample(seeds)

    @cached_property
    def parts(self) -> list[Record]:
        """The test set, one record per block; drawn or loaded once per process."""
        return [self.sample("test", range(start, end)) for start, end in self._spans]

    @cached_property
    def scenarios(self) -> Record:
        """The test set, whole: for tasks whose scenarios all have one shape."""
        return self.parts[0] if len(self.blocks) == 1 else self.sample("test", range(self.n))

    def rows(self, start: int, n: int) -> Record:
        """Test scenarios start .. start + n - 1 of one block (a chunk)."""
        block = bisect_right(self.blocks, start) - 1
        first = self.blocks[block]
        return batch(self.parts[block], slice(start - first, start - first + n))

    @property
    def _spans(self) -> list[tuple[int, int]]:
        return list(zip(self.blocks, [*self.blocks[1:], self.n], strict=True))

    @property
    def view(self) -> TaskView:
        """A copy of the domain's attributes, so that what an agent sets there is its own."""
        return TaskView(self.id, copy(self.domain), self.config, self.sample, self.limits, self.reference)

    def chunks(self, size: int | None = None) -> list[tuple[int, int]]:
        """(start, n) of every chunk: at most `size` scenarios, none across a block border."""
        size = size or self.chunk
        return [(start, min(size, end - start)) for begin, end in self._spans for start in range(begin, end, size)]

    # ---- what is frozen -------------------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        """The candidate role whose entry carries the score."""
        return self.candidates[0] if self.candidates else self.domain.roles[0].name

    @property
    def pair(self) -> tuple[str, str] | None:
        """The roles in which cross-play seats two agents, the scored one first: two candidate roles of one seat. None: there is no cross-play."""
        if len(self.candidates) != 2 or self.headline == "of_means" or any(self.domain.role(name).seats != 1 for name in self.candidates):
            return None
        return self.candidates[0], self.candidates[1]

    @property
    def about(self) -> dict[str, Any]:
        """What the task says of itself, for readers that do not load it. Not part of its identity."""
        return {"summary": self.summary, "statement": _said(self.domain), "references": _said(self.references), "bounded": self.bounded}

    @property
    def primary(self) -> Metric:
        return next(m for m in self.domain.metrics_spec if m.role == "primary")

    @cached_property
    def pieces(self) -> list[str]:
        """Digests of the test scenarios, at most `PIECE` at a time, block by block."""
        found = []
        for start, n in self.chunks(PIECE):
            part = self.rows(start, n)
            found.append(digest({name: array_digest(tensor.numpy(force=True)) for name, tensor in part.tensors().items()}))
        return found

    @cached_property
    def _frozen(self) -> dict[str, Any] | None:
        if self.frozen is None or not self.frozen.with_suffix(".json").exists():
            return None
        loaded: dict[str, Any] = json.loads(self.frozen.with_suffix(".json").read_text())
        return loaded

    @cached_property
    def vectors(self) -> dict[str, Vector]:
        """The reference vectors: read from the frozen file where there is one, else computed."""
        if self._frozen is not None and self.frozen is not None:
            from safetensors.numpy import load_file

            return {name: np.asarray(v, np.float64) for name, v in sorted(load_file(self.frozen.with_suffix(".safetensors")).items())}
        return self.computed_vectors()

    def computed_vectors(self) -> dict[str, Vector]:
        """The reference vectors computed afresh. Raises ArenaError where one has the wrong length or is not finite."""
        vectors = {name: np.asarray(vector, np.float64) for name, vector in sorted(self.references(self).items())}
        for name, vector in vectors.items():
            if vector.shape != (self.n,) or not np.isfinite(vector).all():
                raise ArenaError("task.vector", f"{self.id}: vector {name!r} must be {self.n} finite numbers, got shape {vector.shape}")
        for name in ("ref0", "ref1"):
            if name not in vectors and self.headline != "of_means":
                raise ArenaError("task.vector", f"{self.id}: no reference {name!r}", "references() returns at least ref0 and ref1")
        return vectors

    def description(self) -> dict[str, Any]:
        """Everything the digest covers."""
        found = {
            "id": self.id,
            "config": dict(self.config),
            "kernel": self.domain.version,
            "generator": self.version,
            "scenarios": self.pieces,
            "vectors": {name: array_digest(vector) for name, vector in self.vectors.items()},
            "metrics": [[m.name, m.unit, m.direction, m.role, m.threshold, m.scale] for m in self.domain.metrics_spec],
            "score": [self.headline, self.normalise, self.floor, list(self.candidates), list(self.groups)],
            "fill": {role: registry.candidate(reference).digest for role, reference in self.fill.items()},
        }
        return found | ({"outcome": self.outcome} if self.outcome else {})  # where there is none, digests are those from before it existed

    @cached_property
    def digest(self) -> str:
        """The task's identity. Raises ArenaError `task.changed` where it differs from the frozen one, saying in what."""
        found = self.description()
        value = digest(found)
        if self._frozen is not None and self._frozen["digest"] != value:
            was = self._frozen["description"]
            parts = [key for key in found if json.loads(json.dumps(found[key])) != was.get(key)]
            detail = ", ".join(parts)
            if "scenarios" in parts and len(was["scenarios"]) == len(found["scenarios"]):
                first = next(i for i, (a, b) in enumerate(zip(was["scenarios"], found["scenarios"], strict=True)) if a != b)
                start, n = self.chunks(PIECE)[first]
                detail += f" (first differing scenarios {start}..{start + n - 1})"
            raise ArenaError(
                "task.changed",
                f"{self.id} is not the task that was frozen: {detail} differ",
                "give the changed task a new version, or restore the data and code it was frozen with",
                expected=self._frozen["digest"],
                found=value,
            )
        return value

    def freeze(self) -> Path:
        """Write digest and vectors beside the domain, to be committed. Returns the path of the json file."""
        if self.frozen is None:
            raise ArenaError("task.freeze", f"{self.id} depends on the user's own files and is not frozen")
        from safetensors.numpy import save_file

        vectors = self.computed_vectors()
        self.__dict__["vectors"], self.__dict__["_frozen"] = vectors, None
        self.__dict__.pop("digest", None)
        self.frozen.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(vector) for name, vector in vectors.items()}, self.frozen.with_suffix(".safetensors"))
        path = self.frozen.with_suffix(".json")
        path.write_text(json.dumps({"digest": self.digest, "description": self.description()}, indent=1, sort_keys=True) + "\n")
        return path


def _said(thing: object) -> str:
    """The first paragraph of what a thing says about itself."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
