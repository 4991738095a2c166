"""Typed batched records: what scenarios, states and outcomes are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

Index = slice | Tensor | Sequence[int]


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`function` applied to every tensor in a record, a mapping or a tensor; anything else (a shared clock) passes through."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Record):
        return value.map(function)
    if isinstance(value, Mapping):
        return {key: map_tensors(item, function) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class Record:
    """A batched record: every tensor in it has the scenario as its first axis.

    A field may be a tensor, a mapping of tensors, another record, or a plain int that all scenarios of the batch share
    (a clock). Records are never changed in place.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{f.name: map_tensors(getattr(self, f.name), function) for f in fields(self)})

    def __getitem__(self, index: Index) -> Self:
        """The chosen scenarios, in the order of `index`."""
        return self.map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device))

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All tensors by dotted name, in field order."""
        found: dict[str, Tensor] = {}

        def collect(name: str, value: Any) -> None:
            if isinstance(value, Tensor):
                found[name] = value
            elif isinstance(value, Record):
                for f in fields(value):
                    collect(f"{name}.{f.name}" if name else f.name, getattr(value, f.name))
            elif isinstance(value, Mapping):
                for key, item in value.items():
                    collect(f"{name}.{key}", item)

        collect(prefix, self)
        return found

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def where(self, mask: Tensor, other: Self) -> Self:
        """Rows of `self` where `mask [B]` holds, rows of `other` elsewhere.

        Raises ValueError if a shared clock differs between the two and the mask does not choose one side whole: a domain
        whose episodes end at different steps keeps its clock per row.
        """
        if bool(mask.all()):
            return self
        if not bool(mask.any()):
            return other

        def merge(mine: Any, theirs: Any) -> Any:
            if isinstance(mine, Tensor):
                return torch.where(mask.view(-1, *[1] * (mine.dim() - 1)), mine, theirs)
            if isinstance(mine, Record):
                return replace(mine, **{f.name: merge(getattr(mine, f.name), getattr(theirs, f.name)) for f in fields(mine)})
            if isinstance(mine, Mapping):
                return {key: merge(item, theirs[key]) for key, item in mine.items()}
            if mine != theirs:
                raise ValueError(f"rows at different clocks ({mine} and {theirs}) cannot share one batch")
            return mine

        return merge(self, other)  # type: ignore[no-any-return]


def batch(record: Record, rows: slice) -> Record:
    """Rows of a record with each series contiguous again in its own memory order."""
    return record[rows].map(lambda tensor: tensor.T.contiguous().T if tensor.dim() == 2 and tensor.stride(0) == 1 else tensor.contiguous())
