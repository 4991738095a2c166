"""What was found is kept, continued and improved; the frozen files hold solutions of the instances they are for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.errors import ArenaError
from domains.combinatorial import best, best_solve
from domains.combinatorial.best_solve import _mend, freeze, run, solve
from domains.combinatorial.checker import evaluate
from domains.combinatorial.kernel import Instances
from domains.combinatorial.tasks import DRAWN, unsolved

TINY = "kp50-tiny-v1"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Frozen files are written here, not into the package."""
    monkeypatch.setattr(best, "FOLDER", tmp_path / "best")
    best.load_best.cache_clear()
    yield tmp_path / "found.jsonl"
    best.load_best.cache_clear()


def written(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_continues_where_it_was_stopped_and_ends_in_the_same_file(elsewhere: Path) -> None:
    run(TINY, elsewhere)
    lines = written(elsewhere)
    assert [line["index"] for line in lines] == list(range(32))
    run(TINY, elsewhere)
    assert written(elsewhere) == lines  # nothing is solved twice
    first, mean = freeze(TINY, elsewhere, "command")
    whole = first.read_bytes()
    text = elsewhere.read_text().splitlines(keepends=True)
    elsewhere.write_text("".join(text[:20]) + text[20][:30])  # stopped within a line
    _mend(elsewhere)
    with pytest.raises(ArenaError, match="instance 20"):
        freeze(TINY, elsewhere, "command")
    run(TINY, elsewhere)
    assert freeze(TINY, elsewhere, "command") == (first, mean) and first.read_bytes() == whole
    assert best.load_best(TINY).optimal and best.load_best(TINY).about["proven"] == 32


def test_the_best_feasible_line_of_this_very_instance_wins(elsewhere: Path) -> None:
    run(TINY, elsewhere)
    _, mean = freeze(TINY, elsewhere, "command")
    optimum = written(elsewhere)[0]
    worse, stale, heavy = ({**optimum, "optimal": False, "solver": solver} for solver in ("worse", "stale", "heavy"))
    worse["order"], heavy["order"] = optimum["order"][:-1], list(range(50))
    stale["digest"] = "0" * 16
    rest = elsewhere.read_text().splitlines(keepends=True)[1:]

    def frozen(*lines: dict) -> float:
        elsewhere.write_text("".join([*(json.dumps(line) + "\n" for line in lines), *rest]))
        return freeze(TINY, elsewhere, "command")[1]

    assert frozen(heavy, worse, stale) < mean
    assert best.load_best(TINY).about["found"]["worse"] == 1 and not best.load_best(TINY).optimal
    assert frozen(worse, optimum, heavy) == mean
    with pytest.raises(ArenaError, match="nothing feasible was found for instance 0"):
        frozen(heavy, stale)


@pytest.mark.parametrize("name", ["tsp100-v1", "atsp100-v1", "cvrp100-v1", "op100-v1"])
def test_a_short_search_solves_an_instance_and_repeats_itself(name: str) -> None:
    for package in ("elkai", "ortools"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    problem, _ = DRAWN[name]
    effort = 100 if problem == "cvrp" else 1
    found = solve(name, 3, effort)
    assert found == solve(name, 3, effort)
    assert found["optimal"] == (problem == "atsp")
    assert best_solve._cost(problem, best_solve._instance(name, 3), found) is not None


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_frozen_solutions_are_feasible_and_none_beats_one_proven_optimal(name: str) -> None:
    if not (best.FOLDER / f"{name}.safetensors").is_file():
        pytest.skip(f"no best solutions of {name} are frozen")
    known, (problem, _) = best.load_best(name), DRAWN[name]
    rows = range(len(known.order))
    scenario: Instances = unsolved(name, "test", rows, best_solve.scenario_seeds(f"combinatorial/{name}", "test", rows))
    judged = evaluate(problem, scenario, torch.from_numpy(known.order), torch.from_numpy(known.via))
    assert bool(judged.feasible.all())
    assert known.order.dtype == np.int16 and (known.via.shape == known.order.shape) == (problem == "cvrp")
    if name in ("tsp20-tiny-v1", "kp50-tiny-v1", "kp200-hard-v1"):
        again = solve(name, 5)
        order, via = torch.tensor([again["order"]]), torch.zeros(1, 0)
        row = unsolved(name, "test", [5], best_solve.scenario_seeds(f"combinatorial/{name}", "test", [5]))
        assert float(evaluate(problem, row, order, via).cost) == pytest.approx(float(judged.cost[5]), rel=1e-12)
