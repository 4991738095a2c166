"""Which rows of an agent's answer are legal: never clipped, rounded or masked on its behalf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

BOX_SLACK = 1e-6  # how far outside a bounded Box an action may lie (float32 rounding)


class Illegal(Exception):
    """Nothing in the answer can be used: wrong shape or wrong dtype."""


def judge(answer: Any, space: spaces.Space[Any], lead: tuple[int, ...], mask: Tensor | None, live: Tensor) -> tuple[Tensor, dict[int, str]]:
    """The actions as a tensor [*lead, ...], and for each illegal live row what was found and what was allowed.

    answer: tensor or array [*lead, *space.shape], or a list of one array per row (rows that disagree are judged alone)
    lead: (B,) or (B, seats); mask: binding, [*lead, n] for Discrete(n); live: [B]
    Accepted casts: float64 to float32, integer widths where the value fits. Raises Illegal where no row can be used.
    """
    shape = (*lead, *(space.shape or ()))
    if isinstance(answer, list):
        return _rows_apart(answer, space, lead, mask, live)
    tensor = _as_tensor(answer)
    if tuple(tensor.shape) != shape:
        raise Illegal(f"shape {tuple(tensor.shape)}, expected {shape}")
    continuous = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    if continuous != tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        shown = tensor.flatten()[0].item() if tensor.numel() else None
        wanted = f"{space.dtype} values of {space}" if continuous else f"integers of {space}; truncate them yourself"
        raise Illegal(f"dtype {str(tensor.dtype).removeprefix('torch.')} (first value {shown!r}), expected {wanted}")
    bad = _outside(tensor, space, continuous)
    if bad is not None and mask is not None and isinstance(space, spaces.Discrete):
        allowed = mask.gather(-1, (tensor - int(space.start)).clamp(0, int(space.n) - 1).long()[..., None])[..., 0].bool()
        bad = bad | ~allowed
    elif mask is not None and isinstance(space, spaces.Discrete):
        bad = ~mask.gather(-1, (tensor - int(space.start)).long()[..., None])[..., 0].bool()
    if bad is None:
        return tensor, {}
    rows = bad.flatten(1).any(1) if bad.dim() > 1 else bad
    rows = rows & live
    return tensor, {row: f"{_shown(tensor, bad, row)}, allowed {_allowed(space, mask, row)}" for row in rows.nonzero()[:, 0].tolist()}


def _as_tensor(answer: Any) -> Tensor:
    if isinstance(answer, Tensor):
        return answer.detach()
    array = np.asarray(answer)
    if array.dtype.kind not in "iufb":
        raise Illegal(f"{type(answer).__name__} of dtype {array.dtype}, expected numbers")
    return torch.from_numpy(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable))


def _outside(tensor: Tensor, space: spaces.Space[Any], continuous: bool) -> Tensor | None:
    """[*lead, ...] which values lie outside the space; None where all lie inside."""
    low, high = _limits(space)
    if continuous:
        low_t, high_t = torch.as_tensor(low, device=tensor.device), torch.as_tensor(high, device=tensor.device)
        inside = tensor.isfinite() & (tensor >= low_t - BOX_SLACK) & (tensor <= high_t + BOX_SLACK)
        return None if bool(inside.all()) else ~inside
    if isinstance(space, spaces.Discrete):
        if not tensor.numel():
            return None
        least, most = torch.aminmax(tensor)
        if least.item() >= low and most.item() <= high:
            return None
    return (tensor < torch.as_tensor(low, device=tensor.device)) | (tensor > torch.as_tensor(high, device=tensor.device))


def _limits(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Box), f"no legality rule for {space}"
    return space.low, space.high


def _rows_apart(answer: Sequence[Any], space: spaces.Space[Any], lead: tuple[int, ...], mask: Tensor | None, live: Tensor) -> tuple[Tensor, dict[int, str]]:
    if len(answer) != lead[0]:
        raise Illegal(f"{len(answer)} rows, expected {lead[0]}")
    found = torch.zeros((*lead, *(space.shape or ())), dtype=_dtype(space))
    reasons: dict[int, str] = {}
    for row, value in enumerate(answer):
        if not bool(live[row]):
            continue
        try:
            one, wrong = judge(np.asarray(value)[None], space, (1, *lead[1:]), None if mask is None else mask[row : row + 1], live[row : row + 1])
        except Illegal as error:
            reasons[row] = str(error)
            continue
        if wrong:
            reasons[row] = wrong[0]
        else:
            found[row] = one[0].to(found.dtype)
    return found, reasons


def _dtype(space: spaces.Space[Any]) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, space.dtype)).dtype


def _shown(tensor: Tensor, bad: Tensor, row: int) -> str:
    values = tensor[row][bad[row]] if tensor[row].dim() else tensor[row : row + 1]
    return "value " + ", ".join(repr(v) for v in values.flatten()[:4].tolist())


def _allowed(space: spaces.Space[Any], mask: Tensor | None, row: int) -> str:
    if mask is not None:
        legal = mask[row].reshape(-1, mask.shape[-1]).any(0).nonzero()[:, 0].tolist()
        return f"{len(legal)} of the mask: {', '.join(map(str, legal[:12]))}{', ...' if len(legal) > 12 else ''}"
    low, high = _limits(space)
    if np.ndim(low):
        low, high = np.min(low), np.max(high)
    return f"{low}..{high}"
