from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch
from torch import Tensor

from arena.record import Record, batch


@dataclass(frozen=True, slots=True)
class Inner(Record):
    x: Tensor


@dataclass(frozen=True, slots=True)
class Outer(Record):
    t: int
    a: Tensor
    inner: Inner
    marks: Mapping[str, Tensor]


def outer(t=2, shift=0):
    rows = torch.arange(4) + shift
    return Outer(t, rows, Inner(rows[:, None] * torch.ones(3)), {"0": rows * 10, "5": rows * 100})


def test_rows_are_chosen_everywhere_and_the_clock_stays():
    for index in ([2, 0], torch.tensor([2, 0]), slice(0, 3, 2)):
        chosen = outer()[index]
        rows = [2, 0] if not isinstance(index, slice) else [0, 2]
        assert chosen.t == 2 and chosen.a.tolist() == rows == chosen.inner.x[:, 1].tolist() and chosen.marks["5"].tolist() == [r * 100 for r in rows]
    assert len(outer()) == 4 and len(outer()[1:]) == 3


def test_tensors_by_dotted_name():
    assert list(outer().tensors()) == ["a", "inner.x", "marks.0", "marks.5"]
    assert list(outer().tensors("s")) == ["s.a", "s.inner.x", "s.marks.0", "s.marks.5"]


def test_map_reaches_every_tensor_and_changes_nothing_in_place():
    before = outer()
    after = before.map(lambda tensor: tensor * 2)
    assert after.marks["0"].tolist() == [0, 20, 40, 60] and before.marks["0"].tolist() == [0, 10, 20, 30]
    with pytest.raises(FrozenInstanceError):
        before.t = 3


def test_where_takes_rows_of_either():
    mask = torch.tensor([True, False, True, False])
    mixed = outer().where(mask, outer(shift=7))
    assert mixed.a.tolist() == [0, 8, 2, 10] and mixed.inner.x[:, 2].tolist() == [0, 8, 2, 10] and mixed.marks["0"].tolist() == [0, 80, 20, 100]
    one = outer()
    assert one.where(mask | True, outer(shift=1)) is one


def test_where_refuses_two_clocks_in_one_batch():
    with pytest.raises(ValueError, match=r"rows at different clocks \(2 and 3\)"):
        outer(2).where(torch.tensor([True, False, True, False]), outer(3))
    assert outer(2).where(torch.zeros(4, dtype=torch.bool), outer(3)).t == 3


def test_to_moves_every_tensor():
    assert {v.device.type for v in outer().to("meta").tensors().values()} == {"meta"}


@dataclass(frozen=True, slots=True)
class Series(Record):
    tall: Tensor
    flat: Tensor


def test_a_batch_keeps_the_memory_order_of_its_series():
    base = torch.arange(12.0).reshape(4, 3)
    part = batch(Series(base.T.contiguous().T, base), slice(1, 3))
    assert torch.equal(part.tall, base[1:3]) and torch.equal(part.flat, base[1:3])
    assert part.tall.stride() == (1, 2), "column t of the batch is contiguous" and part.flat.stride() == (3, 1)
