"""The benchmark measures equal work: the plain loop, the batch and the peer come to the same totals; and it measures what it says."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from benchmarks import repeated_games as side_by_side
from domains.repeated_games import bench


def test_small_figures_are_rows_with_every_column() -> None:
    before = torch.get_num_threads()
    rows = bench.figures(small=True)
    assert torch.get_num_threads() == before and len({row["what"] for row in rows}) == len(rows) == 4
    for row in rows:
        assert list(row) == ["what", "value", "unit", "target", "ok", "peer", "ratio"]
        assert row["value"] > 0 and row["unit"] in ("s", "matches/s", "steps/s") and row["target"] is row["ok"] is None
    assert rows[0]["ratio"] == pytest.approx(rows[0]["value"] / rows[0]["peer"])


def test_a_target_is_met_from_above_or_below() -> None:
    assert [bench.row("", value, "matches/s", 10.0)["ok"] for value in (9.0, 10.0, 11.0)] == [False, True, True]
    assert [bench.row("", value, "s", 10.0)["ok"] for value in (9.0, 10.0, 11.0)] == [True, True, False]


def test_the_plain_loop_comes_to_the_same_totals() -> None:
    domain, scenario, candidates = bench.world(100)
    state = bench.played(domain, scenario, candidates)
    assert bench.plain_matches(domain, scenario, candidates, 100) == [tuple(row) for row in state.totals.tolist()]
    pairs = {(one, int(other)) for one, other in zip(candidates, scenario.opponent, strict=True)}
    assert len(pairs) == 100, "every ordered pair of the field"


def test_without_the_peer_only_our_side_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == side_by_side.PEER else find(name, *rest))
    (result,) = side_by_side.field((100,), repeats=1)
    assert result.ours > 0 and result.peer is None and "goal" not in str(result)


def test_a_goal_is_met_by_the_ratio() -> None:
    assert "goal 150: met" in str(side_by_side.Result("x", 1500.0, 10.0)) and "missed" in str(side_by_side.Result("x", 1490.0, 10.0))


def test_a_total_that_differs_from_the_peers_is_told() -> None:
    pairs = [(one, other) for one in bench.FIELD for other in bench.FIELD]
    with pytest.raises(RuntimeError, match=r"allc against allc: \(600.0, 600.0\) here"):
        side_by_side.agree(pairs, dict.fromkeys(pairs, (0.0, 0.0)))


def test_the_peer_comes_to_the_same_totals() -> None:
    pytest.importorskip("axelrod", reason="the peer is not installed: pip install axelrod==4.14.0")
    pairs = [(one, other) for one in bench.FIELD for other in bench.FIELD]
    side_by_side.agree(pairs, side_by_side.axelrod_field(pairs)[1])
