from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from arena.legality import Illegal, compact_dtype, dtype_of, judge

LIVE = torch.ones(3, dtype=torch.bool)
FIVE = spaces.Discrete(5)


def reasons(answer, space=FIVE, lead=(3,), mask=None, live=LIVE):
    return judge(answer, space, lead, mask, live)[1]


@pytest.mark.parametrize(
    "answer",
    [
        torch.tensor([0, 4, 2]), torch.tensor([0, 4, 2], dtype=torch.uint8), np.array([0, 4, 2], np.int8), np.array([0, 4, 2], np.uint16),
        np.array([0, 4, 2], np.uint32), np.array([0, 4, 2], np.uint64), np.array([0, 4, 2], ">i4"), [0, 4, 2], (0, 4, 2),
        [np.int64(0), 4, torch.tensor(2)], np.array([0, 4, 2], dtype=object), np.arange(6)[[0, 4, 2]][::1], np.array([9, 0, 9, 4, 9, 2])[1::2],
    ],
)  # fmt: skip
def test_integers_of_any_kind_and_make(answer):
    found, wrong = judge(answer, FIVE, (3,), None, LIVE)
    assert found.long().tolist() == [0, 4, 2] and not wrong


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.tensor([[0, 1, 2]]), r"shape \(1, 3\), expected \(3,\)"),
        (4, r"shape \(\), expected \(3,\)"),
        ([1, 2], r"shape \(2,\), expected \(3,\)"),
        ([1, None], "2 rows, expected 3"),
        (torch.tensor([0.0, 1.0, 2.0]), r"dtype float32 \(first value 0.0\), expected integers of Discrete\(5\); truncate them yourself"),
        ([0.0, 1.0, 2.0], "dtype float64"),
        (np.array([True, False, True]), "dtype bool"),
        (torch.zeros(3, dtype=torch.complex64), "complex64"),
        (torch.zeros(3, dtype=torch.int64, device="meta"), "meta"),
        (torch.zeros(3, dtype=torch.int64).to_sparse(), "sparse"),
        (np.array([1, 2, 2**64 - 1], np.uint64), "value 18446744073709551615, larger than any int64"),
        ("012", "'012' of type str, expected numbers"),
        (None, "None of type NoneType"),
        ({"action": 1}, "of type dict"),
        (np.zeros(3, "datetime64[s]"), "of type ndarray, expected numbers"),
    ],
)
def test_answers_of_which_nothing_can_be_used(answer, message):
    with pytest.raises(Illegal, match=message):
        judge(answer, FIVE, (3,), None, LIVE)


def test_an_answer_that_fails_to_be_an_array():
    class Trap:
        def __array__(self, dtype=None, copy=None):
            raise ZeroDivisionError("gotcha")

    with pytest.raises(Illegal, match="Trap that is no array: ZeroDivisionError: gotcha"):
        judge(Trap(), FIVE, (3,), None, LIVE)


def test_the_rows_of_a_list_are_judged_alone():
    found, wrong = judge([1, 2.0, None], FIVE, (3,), None, LIVE)
    assert found[0] == 1 and set(wrong) == {1, 2} and "float64 (first value 2.0)" in wrong[1] and "NoneType" in wrong[2]
    assert set(reasons([True, 1, [1]])) == {0, 2}
    assert reasons([1, 2**63, -(2**70)]).keys() == {1, 2}
    assert reasons([1, "x", None], live=torch.tensor([True, False, False])) == {}, "what comes back for rows that are over is ignored"


def test_values_outside_are_named_with_what_was_allowed():
    assert reasons(torch.tensor([5, -1, 4])) == {0: "value 5, allowed 0..4", 1: "value -1, allowed 0..4"}
    assert reasons(torch.tensor([5, -1, 4]), live=torch.tensor([False, True, True])).keys() == {1}
    shifted = spaces.Discrete(3, start=-1)
    assert reasons(torch.tensor([-1, 1, 2]), shifted) == {2: "value 2, allowed -1..1"}


def test_a_mask_binds_each_row_and_seat():
    mask = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    assert reasons(torch.tensor([2, 2, 9]), mask=mask) == {0: "value 2, allowed 2 of the mask: 0, 1", 2: "value 9, allowed 1 of the mask: 0"}
    assert not reasons(torch.tensor([1, 4, 0]), mask=mask.bool())
    seats = torch.stack((mask, mask.flip(1)), 1)
    assert reasons(torch.tensor([[0, 4], [4, 4], [0, 0]]), lead=(3, 2), mask=seats) == {
        1: "value 4 of seat 1, allowed 3 of the mask: 0, 1, 2",
        2: "value 0 of seat 1, allowed 1 of the mask: 4",
    }
    assert reasons(torch.tensor([-1, 0, 1]), spaces.Discrete(3, start=-1), mask=torch.tensor([[1, 0, 0]] * 3)).keys() == {1, 2}


def test_boxes_of_floats():
    box = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32))
    values = np.array([[1 + 5e-7, 5], [np.nan, 0], [0, 1e300]])
    found, wrong = judge(values, box, (3,), None, LIVE)
    assert found.dtype == torch.float32
    assert wrong == {1: "value nan at [0], allowed -1.0..1.0", 2: "value inf at [1], allowed 0.0..5.0"}
    assert not reasons(torch.ones(3, 2, dtype=torch.float16, requires_grad=True), box)
    with pytest.raises(Illegal, match="dtype int64 .*expected float32 values"):
        judge(np.ones((3, 2), int), box, (3,), None, LIVE)
    assert reasons(torch.tensor([0.0, np.inf, -np.inf]), spaces.Box(-np.inf, np.inf, ())).keys() == {1, 2}, "no infinities even where unbounded"


def test_the_other_spaces():
    many = spaces.MultiDiscrete([3, 2])
    assert reasons(np.array([[2, 1], [0, 2], [3, 0]]), many) == {1: "value 2 at [1], allowed 0..1", 2: "value 3 at [0], allowed 0..2"}
    assert not reasons(np.ones((3, 2), bool), spaces.MultiBinary(2)), "truth values are what a set of items is made of"
    assert reasons(np.array([[1, 2], [0, 1], [0, 0]]), spaces.MultiBinary(2)).keys() == {0}
    whole = spaces.Box(0, 9, (), np.int32)
    assert reasons(torch.tensor([0, 9, 10]), whole) == {2: "value 10, allowed 0..9"}


@given(start=st.integers(-(2**40), 2**40), n=st.integers(1, 2**33))
def test_the_recording_dtype_holds_the_whole_space(start, n):
    space = spaces.Discrete(n, start=start)
    kind = compact_dtype(space)
    ends = torch.tensor([start, start + n - 1])
    assert torch.equal(ends.to(kind).to(dtype_of(space)), ends)
    smaller = {torch.int16: torch.int8, torch.int32: torch.int16, torch.int64: torch.int32}.get(kind)
    assert smaller is None or not torch.equal(ends.to(smaller).long(), ends)


@given(st.lists(st.integers(-(2**66), 2**66), min_size=3, max_size=3))
def test_python_integers_of_any_size(answer):
    assert set(reasons(answer)) == {row for row, value in enumerate(answer) if not 0 <= value <= 4}
