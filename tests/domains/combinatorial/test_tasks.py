"""The frozen tasks: their best solutions are solutions, their anchors are the field's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arena import registry
from arena.errors import ArenaError
from domains.combinatorial.best import load_best
from domains.combinatorial.checker import evaluate
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.references import references, stop_at_first, textbook
from domains.combinatorial.scenarios import instances
from domains.combinatorial.tasks import DRAWN

TINY = [name for name in DRAWN if "tiny" in name]
# the textbook rules' mean gaps as measured for the design (%), and the mean of the best solutions where the literature has one
TEXTBOOK = {"tsp100-v1": 24.7, "tsp200-v1": 25.1, "tsp500-v1": 26.2}
HARD = (0.60, 1.01, 1.77)


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_frozen_is_what_is_drawn(name: str) -> None:
    task = registry.task(f"combinatorial/{name}")
    assert task.digest and task.frozen is not None and task.frozen.with_suffix(".json").is_file()
    assert set(task.vectors) >= {"ref0", "ref1", "best"} and not task.vectors["ref1"].any() and task.vectors["ref0"].mean() > 0


@pytest.mark.parametrize("name", DRAWN)
def test_best_solutions_are_solutions_and_give_the_best_values(name: str) -> None:
    task, best = registry.task(f"combinatorial/{name}"), load_best(name)
    found = evaluate(task.domain.problem, task.scenarios, torch.from_numpy(best.order), torch.from_numpy(best.via))  # type: ignore[attr-defined, arg-type]
    assert found.feasible.all() and len(best.order) == task.n
    assert np.allclose(found.cost.numpy(), best.value, rtol=1e-13, atol=0) and np.array_equal(best.value, task.vectors["best"])
    assert best.about["status"] in ("optimal", "heuristic") and {"found", "proven", "command"} <= set(best.about)


@pytest.mark.parametrize("name", TINY)
def test_tiny_references_are_computed_again(name: str) -> None:
    task = registry.task(f"combinatorial/{name}")
    assert load_best(name).optimal and task.bounded
    again = references(task)
    assert all(np.array_equal(again[key], task.vectors[key]) for key in task.vectors)
    assert task.vectors["ref0"].min() >= 0, "nothing is better than the optimum"


@pytest.mark.parametrize(("name", "gap"), TEXTBOOK.items())
def test_nearest_neighbour_is_as_far_from_the_optimum_as_everywhere(name: str, gap: float) -> None:
    assert registry.task(f"combinatorial/{name}").vectors["ref0"][: 1000 if name == "tsp100-v1" else 64].mean() == pytest.approx(gap, abs=0.06)


def test_the_hundred_nodes_of_seed_1234() -> None:
    found = registry.task("combinatorial/tsp100-v1").vectors["best"].mean()
    assert 7.7530 < found <= 7.753437, "never longer than what LKH finds in one start of two runs"


def test_hard_knapsacks_stop_at_the_first_that_does_not_fit() -> None:
    task = registry.task("combinatorial/kp200-hard-v1")
    means = [task.vectors["ref0"][task.vectors["group"] == kind].mean() for kind in range(3)]
    assert means == pytest.approx(HARD, rel=0.3) and load_best("kp200-hard-v1").optimal
    value, weight = np.array([[6, 10, 3]]), np.array([[2, 5, 3]])
    assert stop_at_first(value, weight, np.array([5])) == [6], "10 for 5 does not fit behind 6 for 2, and there it ends"


def test_ties_go_to_the_smallest_index() -> None:
    square = np.array([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]])
    assert textbook(Combinatorial("tsp", 4), instances(coords=square)).order.tolist() == [[1, 3, 2]]


def test_the_vehicle_goes_home_only_when_nothing_fits() -> None:
    line = np.array([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    state = textbook(Combinatorial("cvrp", 4), instances(coords=line, demand=np.array([[0, 2, 9, 3]]), capacity=9))
    assert state.order.tolist() == [[1, 3, 2]] and state.via.tolist() == [[False, False, True]]


@pytest.mark.parametrize("name", TINY)
def test_training_instances_are_others_and_have_the_textbook_for_best(name: str) -> None:
    task = registry.task(f"combinatorial/{name}")
    train = task.sample("train", [0, 5])
    state = textbook(task.domain, train)  # type: ignore[arg-type]
    assert not task.domain.metrics(train, state)["gap"].any() and train.best.isfinite().all()  # type: ignore[attr-defined]
    first = next(iter(series for key, series in train.tensors().items() if key in ("coords", "matrix", "prize") and series.shape[1]))
    tested = task.scenarios.tensors()[next(key for key, series in train.tensors().items() if series is first)]
    assert not any(torch.equal(first[0], row) for row in tested)


def test_no_best_solution_is_said(tmp_path: object) -> None:
    with pytest.raises(ArenaError, match="no best solutions") as error:
        load_best("tsp7-v1")
    assert error.value.code == "reference.missing" and "best_solve tsp7-v1" in error.value.hint
