"""Gymnasium spaces as data: their class and the arguments that make it. For messages and checkpoints, and readable in any language."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]


def space_document(space: spaces.Space[Any]) -> dict[str, Any]:
    """JSON-able; a bound that is infinite is null, one that all components share is a number."""
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {name: space_document(entry) for name, entry in space.spaces.items()}}
    about = {"type": type(space).__name__, "shape": list(space.shape or ()), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Box):
        return {**about, "low": _shared(space.low), "high": _shared(space.high)}
    if isinstance(space, spaces.Discrete):
        return {**about, "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {**about, "nvec": _nested(space.nvec), "start": _nested(space.start)}
    assert isinstance(space, spaces.MultiBinary), f"no document for {space}"
    return about


def space_of(document: Any) -> spaces.Space[Any]:
    """The space that a document describes. Raises ValueError for anything else."""
    try:
        if document["type"] == "Dict":
            return spaces.Dict([(name, space_of(entry)) for name, entry in document["spaces"].items()])
        shape, kind = tuple(document["shape"]), np.dtype(document["dtype"])
        made: dict[str, Any] = {
            "Box": lambda: spaces.Box(_limit(document["low"], -np.inf, kind, shape), _limit(document["high"], np.inf, kind, shape), shape, kind.type),
            "Discrete": lambda: spaces.Discrete(document["n"], start=document["start"]),
            "MultiDiscrete": lambda: spaces.MultiDiscrete(document["nvec"], start=document["start"]),
            "MultiBinary": lambda: spaces.MultiBinary(shape[0] if len(shape) == 1 else shape),
        }
        found: spaces.Space[Any] = made[document["type"]]()
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"no space: {str(document)[:200]} ({type(error).__name__}: {error})") from error
    return found


def _shared(limit: Array) -> Any:
    first = limit.flat[0].item() if limit.size else 0
    if (limit == first).all():
        return first if math.isfinite(first) else None
    return _nested(limit)


def _nested(value: Array) -> Any:
    """An array as nested lists; what is not finite is null."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        holed = value.astype(object)
        holed[~np.isfinite(value)] = None
        return holed.tolist()
    return value.tolist()


def _limit(bound: Any, unbounded: float, kind: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    listed = np.array(bound, object)
    listed[listed == np.array(None)] = unbounded
    return np.broadcast_to(listed.astype(kind), shape)


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any], but: tuple[str, ...] = ()) -> str | None:
    """The first field in which two documents of the same space differ, those in `but` left aside; None where they agree."""
    for key in ("type", *ours, *theirs):
        if key not in but and ours.get(key) != theirs.get(key):
            return key
    return None
