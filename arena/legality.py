"""Which rows of an agent's answer are legal: never clipped, rounded or masked on its behalf."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

BOX_SLACK = 1e-6  # how far outside a bounded Box an action may lie (float32 rounding)
NARROW = (torch.int8, torch.int16, torch.int32, torch.int64)
WIDENED = (torch.uint16, torch.uint32, torch.uint64)  # torch compares none of these


class Illegal(Exception):
    """Nothing in the answer can be used: wrong shape or wrong dtype."""


def judge(answer: Any, space: spaces.Space[Any], lead: tuple[int, ...], mask: Tensor | None, live: Tensor) -> tuple[Tensor, dict[int, str]]:
    """The actions as a tensor [*lead, ...], and for each illegal live row what was found and what was allowed.

    answer: tensor or array [*lead, *space.shape], or a list with one value per row (rows that disagree are judged alone)
    lead: (B,) or (B, seats); mask: binding, [*lead, n] for Discrete(n); live: [B]
    Accepted casts: between float widths, and between integer widths where the value fits. The result may share memory with the answer.
    Raises Illegal where no row can be used.
    """
    if isinstance(answer, list | tuple) or getattr(answer, "dtype", None) is np.dtype(object):
        kinds = {type(value) for value in answer}
        numbers = np.asarray(answer) if kinds in ({int}, {float}) else None
        if numbers is None or numbers.dtype != (np.int64 if kinds == {int} else np.float64):
            return _rows_apart(answer, space, lead, mask, live)
        answer = numbers
    tensor = _as_tensor(answer, live.device)
    shape, kind = (*lead, *(space.shape or ())), dtype_of(space)
    if tuple(tensor.shape) != shape:
        raise Illegal(f"shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype == torch.bool and isinstance(space, spaces.MultiBinary):
        tensor = tensor.to(torch.uint8)
    if tensor.dtype.is_floating_point != kind.is_floating_point or tensor.dtype == torch.bool:
        shown = tensor.flatten()[0].item() if tensor.numel() else None
        wanted = f"{space.dtype} values of {space}" if kind.is_floating_point else f"integers of {space}; truncate them yourself"
        raise Illegal(f"dtype {str(tensor.dtype).removeprefix('torch.')} (first value {shown!r}), expected {wanted}")
    if kind.is_floating_point:
        tensor = tensor.to(kind)  # before the check: a float64 may lie beyond all float32
    bad = _outside(tensor, space)
    if mask is not None and isinstance(space, spaces.Discrete):
        place = tensor.long() - int(space.start)
        masked = ~mask.gather(-1, place.clamp(0, int(space.n) - 1)[..., None])[..., 0].bool()
        bad = masked if bad is None else bad | masked
    if bad is None:
        return tensor, {}
    rows = ((bad.flatten(1).any(1) if bad.dim() > 1 else bad) & live).nonzero()[:, 0].tolist()
    return tensor, {row: _reason(tensor[row], bad[row], space, len(lead) > 1, None if mask is None else mask[row]) for row in rows}


def dtype_of(space: spaces.Space[Any]) -> torch.dtype:
    """The dtype in which the kernel gets actions of a space."""
    assert space.dtype is not None, f"no legality rule for {space}"
    return _torch_dtype(space.dtype)


@cache
def _torch_dtype(kind: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, kind)).dtype


def compact_dtype(space: spaces.Space[Any]) -> torch.dtype:
    """The smallest dtype that holds every action of a space, in which actions are recorded."""
    if not isinstance(space, spaces.Discrete):
        return dtype_of(space)
    low, high = limits(space)
    return next(kind for kind in NARROW if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max)


def _as_tensor(answer: Any, device: torch.device) -> Tensor:
    """The answer as a plain tensor on the device. Raises Illegal for what holds no numbers, and for integers beyond int64."""
    try:
        if isinstance(answer, Tensor):
            tensor = answer.detach().to(device)
        else:
            array = np.asarray(answer)
            if array.dtype.kind not in "iufb":
                raise Illegal(f"{reprlib.repr(answer)} of type {type(answer).__name__}, expected numbers")
            native = f"={array.dtype.kind}{array.dtype.itemsize}"
            tensor = torch.from_numpy(array.astype(native, order="C", copy=not array.flags.writeable).view(native)).to(device)
    except Illegal:
        raise
    except Exception as error:  # sparse on meta, ragged, an `__array__` that fails: the answer is the agent's, whatever it does
        raise Illegal(f"{type(answer).__name__} that is no array: {type(error).__name__}: {error}") from error
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise Illegal(f"{tensor.layout} tensor of dtype {tensor.dtype}, expected a plain tensor of real numbers")
    if tensor.dtype in WIDENED:
        wide = tensor.to(torch.int64)
        if bool((wide < 0).any()):
            raise Illegal(f"value {max(tensor.flatten().tolist())}, larger than any int64")
        return wide
    return tensor


def _outside(tensor: Tensor, space: spaces.Space[Any]) -> Tensor | None:
    """[*lead, ...] which values lie outside the space; None where all lie inside."""
    low, high = limits(space)
    if isinstance(space, spaces.Discrete):
        if not tensor.numel():
            return None
        least, most = torch.aminmax(tensor)
        return None if least.item() >= low and most.item() <= high else (tensor < low) | (tensor > high)
    least, most = torch.as_tensor(low, device=tensor.device), torch.as_tensor(high, device=tensor.device)
    if tensor.dtype.is_floating_point:
        inside = tensor.isfinite() & (tensor >= least - BOX_SLACK) & (tensor <= most + BOX_SLACK)
    else:
        inside = (tensor >= least) & (tensor <= most)
    return None if bool(inside.all()) else ~inside


def limits(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """The least and the greatest value of a space: numbers, or arrays of the space's shape."""
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Box), f"no legality rule for {space}"
    return space.low, space.high


def _rows_apart(
    answer: Sequence[Any], space: spaces.Space[Any], lead: tuple[int, ...], mask: Tensor | None, live: Tensor
) -> tuple[Tensor, dict[int, str]]:
    if len(answer) != lead[0]:
        raise Illegal(f"{len(answer)} rows, expected {lead[0]}")
    found = torch.zeros((*lead, *(space.shape or ())), dtype=dtype_of(space), device=live.device)
    reasons: dict[int, str] = {}
    for row, value in enumerate(answer):
        if not bool(live[row]):
            continue
        try:
            one = _as_tensor(value, live.device)
            if one.shape != found.shape[1:]:
                raise Illegal(f"shape {tuple(one.shape)}, expected {tuple(found.shape[1:])}")
            one, wrong = judge(one[None], space, (1, *lead[1:]), None if mask is None else mask[row : row + 1], live[row : row + 1])
        except Illegal as error:
            reasons[row] = str(error)
            continue
        if wrong:
            reasons[row] = wrong[0]
        else:
            found[row] = one[0].to(found.dtype)
    return found, reasons


def _reason(values: Tensor, bad: Tensor, space: spaces.Space[Any], seats: bool, mask: Tensor | None) -> str:
    """What the first bad value of a row is, where it stands, and what was allowed there."""
    place = tuple(bad.nonzero()[0].tolist())
    seat, component = (place[:1], place[1:]) if seats else ((), place)
    where = "".join((f" of seat {seat[0]}" if seat else "", f" at {list(component)}" if component else ""))
    if mask is not None and isinstance(space, spaces.Discrete):
        legal = (mask[seat].nonzero()[:, 0] + int(space.start)).tolist()
        allowed = f"{len(legal)} of the mask: {', '.join(map(str, legal[:12]))}{', ...' if len(legal) > 12 else ''}"
    else:
        low, high = (limit[component] if np.ndim(limit) else limit for limit in limits(space))
        allowed = f"{low}..{high}"
    return f"value {values[place].item()!r}{where}, allowed {allowed}"
