"""Anchoring, constraints, floor and failures: every figure of the specification, and the traps beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import ArenaError
from arena.scoring import anchored, check_bound, check_gaps, flat_scenarios, score, violation

REF0, REF1 = np.full(4, 10.0), np.array([20.0, 20.0, 20.0, 10.5])
METRIC = np.array([15.0, 15.0, 15.0, 12.0])


def refused(code: str, function, *args, **kwargs) -> ArenaError:
    with pytest.raises(ArenaError) as error:
        function(*args, **kwargs)
    assert error.value.code == code
    return error.value


def test_mean_of_ratios_explodes_where_the_references_nearly_agree() -> None:
    s = anchored(METRIC, REF0, REF1, +1)
    np.testing.assert_allclose(s, [0.5, 0.5, 0.5, 4.0])
    assert s.mean() == pytest.approx(1.375)
    assert anchored(METRIC, REF0, REF1, +1, "task").mean() == pytest.approx(0.557, abs=5e-4)  # the ratio of sums


def test_such_a_task_does_not_freeze() -> None:
    error = refused("task.flat_scenario", check_gaps, REF0, REF1, +1)
    assert error.context["indices"] == [3] and "3" in error.message and "--drop-flat" in error.hint
    check_gaps(REF0[:3], REF1[:3], +1)


def test_the_median_gap_is_taken_within_groups() -> None:
    gap = np.array([100.0, 110.0, 90.0, 1.0, 1.1, 0.05])
    groups = np.array(["large", "large", "large", "small", "small", "small"])
    assert flat_scenarios(np.zeros(6), gap, +1) == [3, 4, 5]
    assert flat_scenarios(np.zeros(6), gap, +1, groups) == [5]
    assert flat_scenarios(gap, np.zeros(6), -1, groups) == [5]


def test_a_gap_of_exactly_a_tenth_passes_and_a_gap_of_the_wrong_sign_never_does() -> None:
    assert flat_scenarios(np.zeros(5), np.array([10.0, 10.0, 10.0, 1.0, 0.999]), +1) == [4]
    assert flat_scenarios(np.ones(3), np.zeros(3), +1) == [0, 1, 2]
    refused("task.reference", check_gaps, [0.0, np.nan], [1.0, 1.0], +1)


@pytest.mark.parametrize(("metric", "v", "expected"), [(60, 0.0, 0.8), (60, 0.2, -0.2), (120, 0.2, -0.6), (50, 0.0, 1.0), (45, 0.0, 1.1)])
def test_constraint_oracle(metric: float, v: float, expected: float) -> None:
    assert score([metric], [100.0], [50.0], -1, violations=[v]) == pytest.approx([expected])


def test_violation_takes_the_worst_constraint() -> None:
    values = np.array([[90.0, 0.95], [110.0, 0.95], [110.0, 0.45], [100.0, 0.9]])
    np.testing.assert_allclose(violation(values, [100.0, 0.9], [-1, +1], [None, None]), [0, 0.1, 0.5, 0])
    np.testing.assert_allclose(violation(values, [100.0, 0.9], [-1, +1], [10.0, None]), [0, 1.0, 1.0, 0])
    np.testing.assert_array_equal(violation(np.zeros((3, 0)), [], [], []), np.zeros(3))


def test_a_threshold_of_zero_must_declare_its_scale() -> None:
    refused("task.constraint_scale", violation, np.ones((2, 1)), [0.0], [-1], [None])
    np.testing.assert_allclose(violation(np.ones((2, 1)), [0.0], [-1], [4.0]), [0.25, 0.25])


def test_rounding_is_not_a_violation() -> None:
    np.testing.assert_allclose(score([5.0, 5.0], [0.0, 0.0], [10.0, 10.0], +1, violations=[1e-9, 2e-9]), [0.5, -2e-9], atol=1e-15)


def test_failures_score_the_floor_and_bad_play_is_no_worse() -> None:
    metric = np.array([np.nan, -30.0, 5.0, np.nan])
    failed = np.array([True, False, False, True])
    np.testing.assert_array_equal(score(metric, np.zeros(4), np.full(4, 10.0), +1, failed=failed), [-1, -1, 0.5, -1])
    np.testing.assert_array_equal(score(metric, np.zeros(4), np.full(4, 10.0), +1, failed=failed, floor=-5.0), [-5, -3, 0.5, -5])


def test_a_nonfinite_metric_is_a_kernel_bug() -> None:
    error = refused("kernel.nonfinite", score, [1.0, np.inf], [0.0, 0.0], [1.0, 1.0], +1)
    assert error.context["indices"] == [1]
    refused("kernel.nonfinite", score, [1.0, 1.0], [0.0, 0.0], [1.0, 1.0], +1, violations=[0.0, np.nan])


def test_chunks_score_as_the_whole_task() -> None:
    rng = np.random.default_rng(1)
    ref0, ref1, metric = rng.normal(0, 1, 20), rng.normal(5, 1, 20), rng.normal(2, 3, 20)
    for normalise in ("scenario", "task"):
        whole = score(metric, ref0, ref1, +1, normalise=normalise)
        parts = [score(metric[a : a + 7], ref0, ref1, +1, normalise=normalise, rows=slice(a, a + 7)) for a in (0, 7, 14)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    refused("score.shape", score, metric[:7], ref0, ref1, +1)


def test_references_that_do_not_differ_have_no_score() -> None:
    assert refused("task.no_gap", anchored, [1.0, 1.0], [0.0, 2.0], [1.0, 2.0], +1).context["indices"] == [1]
    refused("task.no_gap", anchored, [1.0], [0.0], [1.0], -1)
    refused("task.direction", anchored, [1.0], [0.0], [1.0], 0)


def test_scalars_anchor_a_whole_set_value() -> None:
    assert float(anchored(3.0, 2.0, 4.0, +1)) == 0.5
    np.testing.assert_allclose(anchored([[3.0], [5.0]], 2.0, 4.0, +1), [[0.5], [1.5]])


def test_a_proven_bound_cannot_be_beaten() -> None:
    ref0, ref1 = np.full(3, 100.0), np.array([50.0, 50.0, 80.0])
    check_bound([60.0, 50.0 - 4e-5, 80.0], ref0, ref1, -1)
    error = refused("score.above_bound", check_bound, [60.0, 50.0 - 6e-5, 80.0], ref0, ref1, -1)
    assert error.context["indices"] == [1]
    check_bound([60.0, 40.0, np.nan], ref0, ref1, -1, violations=[0, 0.2, 0], failed=[False, False, True])  # infeasible and failed ones prove nothing
    check_bound([70.0], ref0, ref1, -1, rows=slice(1, 2))
    refused("score.above_bound", check_bound, [70.0], ref0, ref1, -1, rows=slice(2, 3))


def test_with_one_denominator_a_score_above_one_may_still_be_within_the_bound() -> None:
    ref0, ref1 = np.zeros(2), np.array([1.0, 9.0])
    assert anchored(ref1, ref0, ref1, +1, "task")[1] == pytest.approx(1.8)
    check_bound(ref1, ref0, ref1, +1, normalise="task")
    refused("score.above_bound", check_bound, [1.1, 5.0], ref0, ref1, +1, normalise="task")


numbers = st.floats(-100, 100)


@given(
    m=numbers,
    better=st.floats(0, 50),
    r0=numbers,
    gap=st.floats(0.1, 100),
    v=st.sampled_from([0.0, 0.3, 2.0]),
    unit=st.floats(0.01, 100),
    shift=numbers,
)
def test_a_score_has_no_unit_never_falls_below_the_floor_and_prefers_better(
    m: float, better: float, r0: float, gap: float, v: float, unit: float, shift: float
) -> None:
    here = score([m], [r0], [r0 + gap], +1, violations=[v])
    assert here >= -1.0
    assert score([m + better], [r0], [r0 + gap], +1, violations=[v]) >= here
    assert score([m], [r0], [r0 + gap], +1, violations=[v + 0.5]) <= np.maximum(here, 0.0)
    turned = score([shift - unit * m], [shift - unit * r0], [shift - unit * (r0 + gap)], -1, violations=[v])
    np.testing.assert_allclose(turned, here, rtol=1e-6, atol=1e-6)
