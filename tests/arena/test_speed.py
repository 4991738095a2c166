"""What benchmarks share: which side of a target is met, and what is timed."""

from __future__ import annotations

from time import process_time

import torch

from arena.speed import one_thread, row, seconds


def test_a_target_is_met_from_above_or_below():
    assert [row("", value, "auctions/s", 10.0)["ok"] for value in (9.0, 10.0, 11.0)] == [False, True, True]
    assert [row("", value, "s", 10.0)["ok"] for value in (9.0, 10.0, 11.0)] == [True, True, False]
    assert row("", 4.0, "s", None, 8.0)["ratio"] == row("", 8.0, "auctions/s", None, 4.0)["ratio"] == 2.0


def test_the_fastest_call_counts_and_the_first_does_not():
    """The first call is quickest here; without repeats it is all there is."""
    turns = iter([0.0, 0.06, 0.03, 0.0])

    def work():
        end = process_time() + next(turns)
        while process_time() < end:
            pass

    assert 0.03 <= seconds(work, 2) < 0.055 and seconds(work, 0) < 0.02


def test_threads_are_given_back_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
