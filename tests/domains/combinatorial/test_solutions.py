"""Solution files are read and written as others read and write them, and checked to the last customer."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import vrplib
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.combinatorial.checker import evaluate
from domains.combinatorial.solutions import check_solution, kernel_form, length, read_solution, routes_of, write_sol, write_tour
from domains.combinatorial.tsplib import RawInstance, instances_of, read

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
here = pytest.mark.skipif(not DATA.is_dir(), reason=f"no files of TSPLIB: {DATA} is absent (set ARENA_DATA)")

COORDS = np.array([[0.0, 0], [3, 4], [6, 8], [0, 5], [5, 0]])
CVRP = RawInstance("five", "cvrp", 5, np.arange(1, 6), "EUC_2D", COORDS, demand=np.array([0, 4, 5, 6, 1]), capacity=10)
TSP = RawInstance("five", "tsp", 5, np.arange(1, 6), "EUC_2D", COORDS)
OP = RawInstance("five", "op", 5, np.arange(1, 6), "EUC_2D", COORDS, prize=np.array([7, 1, 2, 4, 8]), budget=20.0)
GOOD = ((1, 2), (3, 4))


def saved(folder: Path, text: str, name: str = "five.sol") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def listed(kind: str) -> list[dict[str, str]]:
    rows = csv.DictReader((DATA / "best_known.csv").open()) if DATA.is_dir() else ()
    return [row for row in rows if row["problem"] == kind and row["solution_file"]]


# ---- the files themselves ----------------------------------------------------------------------------------------------


@here
@pytest.mark.parametrize("row", [*listed("TSP"), *listed("CVRP")], ids=lambda row: row["instance"])
def test_listed_solutions_cost_exactly_the_best_known(row, tmp_path):
    raw = read(DATA / row["file"])
    found = read_solution(DATA / row["solution_file"], raw)
    assert check_solution(raw, found.routes, found.stated) == float(row["best_known"])
    record = instances_of([raw])
    problem = "atsp" if raw.matrix is not None else raw.problem
    order, via = (torch.from_numpy(part)[None] for part in kernel_form(found.routes, raw.n - 1))
    other = evaluate(problem, record, order, via if problem == "cvrp" else None)
    assert bool(other.feasible) and float(other.cost) == float(row["best_known"]) and int(other.routes) == len(found.routes)
    write = (lambda path: write_sol(path, raw, found.routes, 1.0)) if problem == "cvrp" else (lambda path: write_tour(path, raw, found.routes[0]))
    path = tmp_path / ("it.sol" if problem == "cvrp" else "it.tour")
    write(path)
    assert read_solution(path, raw).routes == found.routes


@here
def test_a_written_sol_is_what_vrplib_reads():
    raw, path = read(DATA / "cvrplib" / "X-n101-k25.vrp"), DATA / "cvrplib" / "X-n101-k25.sol"
    other = vrplib.read_solution(path)
    assert [list(route) for route in read_solution(path, raw).routes] == other["routes"]


def test_what_is_written_is_read_by_us_and_by_vrplib(tmp_path):
    path = tmp_path / "five.sol"
    for value, shown in ((41.0, "Cost 41"), (40.77, "Cost 40.77")):
        write_sol(path, CVRP, GOOD, value)
        assert path.read_text() == f"Route #1: 1 2\nRoute #2: 3 4\n{shown}\n"
        assert read_solution(path, CVRP).routes == GOOD and read_solution(path, CVRP).stated == value
        found = vrplib.read_solution(path)
        assert found["routes"] == [[1, 2], [3, 4]] and found["cost"] == value
    write_sol(path, OP, ((3, 1),), 12)
    assert path.read_text() == "Route #1: 3 1\nScore 12\n" and read_solution(path, OP).stated == 12
    write_tour(tmp_path / "five.tour", TSP, (3, 1, 4, 2))
    text = (tmp_path / "five.tour").read_text()
    assert "TYPE : TOUR\n" in text and "DIMENSION : 5\nTOUR_SECTION\n1\n4\n2\n5\n3\n-1\nEOF\n" in text


def test_a_depot_that_is_not_the_first_node_keeps_its_id(tmp_path):
    raw = replace(CVRP, ids=np.array([3, 1, 2, 4, 5]))
    path = saved(tmp_path, "Route #1: 0 1\nRoute #2: 3 4\nCost 41\n")
    assert read_solution(path, raw).routes == GOOD
    write_sol(tmp_path / "again.sol", raw, GOOD, 41)
    assert (tmp_path / "again.sol").read_text() == path.read_text()
    with pytest.raises(ArenaError, match="line 1: route 1 visits 2, the depot"):
        read_solution(saved(tmp_path, "Route #1: 2 1\n"), raw)


def test_tours_start_anywhere_and_op_tours_may_name_the_depot_twice(tmp_path):
    text = "NAME : x\nTYPE : TOUR\nTOUR_SECTION\n 3 5\n1 2\n4\n-1\n-1\nEOF\n"
    assert read_solution(saved(tmp_path, text, "five.tour"), TSP).routes == ((1, 3, 2, 4),)
    text = "ROUTE_SCORE : 19.00\nROUTE_COST : 17\nNODE_SEQUENCE_SECTION\n1\n4\n5\n-1\nDEPOT_SECTION\n1\n-1\nEOF\n"
    found = read_solution(saved(tmp_path, text, "five.tour"), OP)
    assert found.routes == ((3, 4),) and check_solution(OP, found.routes, found.stated, found.slack) == 19
    assert read_solution(saved(tmp_path, "TOUR_SECTION\n1 4 5 1 -1\n", "five.tour"), OP).routes == ((3, 4),)
    assert read_solution(saved(tmp_path, "TOUR_SECTION\n1 -1\n", "five.tour"), OP).routes == ((),)


@pytest.mark.parametrize(
    ("raw", "text", "said"),
    [
        (CVRP, "Route #1: 1 5\n", "line 1: route 1 visits 5; five has customers 1..4"),
        (CVRP, "Route #1: 2 3\nRoute #2: 4 5\n", "these look like node ids"),
        (CVRP, "Route #1: 0 1 2 0\n", "route 1 visits 0, the depot"),
        (CVRP, "Route #1: 1 two\n", "line 1: 'two' is no node"),
        (CVRP, "Route #1: 1 2\n3 4\n", "line 2: '3 4' is neither"),
        (CVRP, "Route #1: 1 2\nCost many\n", "line 2: 'many' is no number"),
        (CVRP, "Route #1: 1 2\nCost nan\n", "line 2: 'nan' is no number"),
        (CVRP, "Cost 3\n", "holds no route"),
        (CVRP, "TOUR_SECTION\n1 2 3 4 5 -1\n", "is a tour, but five is a cvrp"),
        (TSP, "Route #1: 1 2 3 4\n", "holds no TOUR_SECTION"),
        (TSP, "TOUR_SECTION\n0 1 2 3 4 -1\n", "ids count from 0"),
        (TSP, "TOUR_SECTION\n1 2 3 4 6 -1\n", "line 2: 6 is no node of five"),
        (TSP, "TOUR_SECTION\n1 2 3 4 5\n-1\n1 3 2 4 5 -1\n", "line 4: a second tour"),
        (TSP, "TOUR_SECTION\n2 3 4 5 -1\n", "does not visit node 1"),
        (TSP, "TOUR_SECTION\n1 2 3 4 5 1 -1\n", "visits node 1 2 times"),
        (TSP, "TOUR_SECTION\n-1\n", "empty tour"),
        (TSP, "TOUR_SECTION\n1 2.5 3 4 5 -1\n", "'2.5' is no node"),
    ],
)
def test_files_that_are_no_solutions(tmp_path, raw, text, said):
    with pytest.raises(ArenaError) as caught:
        read_solution(saved(tmp_path, text), raw)
    assert caught.value.code == "data.format" and said in str(caught.value) and "five.sol" in caught.value.message and caught.value.hint


# ---- what is wrong with a solution -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "routes", "stated", "said"),
    [
        (CVRP, ((1, 2), (3,)), None, "customer 4 (node id 5) is not visited"),
        (CVRP, ((1,),), None, "customer 2 (node id 3), customer 3 (node id 4), customer 4 (node id 5) are not visited"),
        (CVRP, ((1, 2), (3, 4, 1)), None, "customer 1 (node id 2) is visited twice in routes 1 and 2"),
        (CVRP, ((1, 2, 1), (3, 4)), None, "visited twice in route 1"),
        (CVRP, ((1, 2), (), (3, 4)), None, "route 2 is empty"),
        (CVRP, ((1, 2), (3, 4, 5)), None, "route 2 visits index 5"),
        (CVRP, ((4,), (1, 2), (3, 0)), None, "route 3 visits index 0"),
        (CVRP, ((4, 2), (1, 3)), None, None),
        (CVRP, ((4,), (1, 2, 3)), None, "route 2 carries 15, the capacity is 10"),
        (CVRP, GOOD, np.nan, "the file says nan"),
        (CVRP, GOOD, 38, "the file says 38, the routes cost 37"),
        (TSP, ((1, 2), (3, 4)), None, "2 routes"),
        (TSP, ((1, 2, 3),), None, "node 5 is not visited"),
        (OP, ((1, 2, 3, 4),), None, "the tour is 29 long, the budget is 20"),
        (OP, ((3, 3),), None, "node 4 is visited twice"),
        (OP, ((3, 4),), 12, "the file says 12, the routes collect 19"),
    ],
)
def test_what_is_wrong_is_said(raw, routes, stated, said):
    if said is None:
        assert check_solution(raw, routes) > 0
        return
    with pytest.raises(ArenaError) as caught:
        check_solution(raw, routes, stated)
    assert caught.value.code == "data.solution" and said in caught.value.message and caught.value.hint


def test_the_rounding_used_is_named_and_the_other_one_computed():
    assert check_solution(CVRP, GOOD, 37) == 37  # 5 + 5 + 10 and 5 + nint(7.07) + 5
    with pytest.raises(ArenaError) as caught:
        check_solution(CVRP, GOOD, 37.07)
    assert "rounded by nint (unrounded: 37.07106781)" in caught.value.hint
    plain = replace(CVRP, metric="euclid", rounding="none")
    with pytest.raises(ArenaError) as caught:
        check_solution(plain, GOOD, 38)
    assert "unrounded (rounded by nint: 37)" in caught.value.hint


def test_stated_costs_count_to_their_last_digit(tmp_path):
    plain = replace(CVRP, metric="euclid", rounding="none")
    exact = length(plain, GOOD)
    assert exact == pytest.approx(20 + 10 + 50**0.5, abs=1e-12)
    for words, right in (("37.07", True), ("37.0711", True), ("37.08", False), ("37", False)):
        found = read_solution(saved(tmp_path, f"Route #1: 1 2\nRoute #2: 3 4\nCost {words}\n"), plain)
        if right:
            assert check_solution(plain, found.routes, found.stated, found.slack) == exact
        else:
            with pytest.raises(ArenaError, match="the file says"):
                check_solution(plain, found.routes, found.stated, found.slack)


# ---- the kernel's form -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 6), st.randoms(use_true_random=False))
def test_routes_survive_the_way_through_the_kernel(sizes, spare, luck):
    nodes = list(range(1, sum(sizes) + 1))
    luck.shuffle(nodes)
    cuts = np.cumsum([0, *sizes])
    routes = tuple(tuple(nodes[a:b]) for a, b in zip(cuts, cuts[1:], strict=False))
    order, via = kernel_form(routes, len(nodes) + spare)
    assert not via[0] and via.sum() == len(sizes) - 1 and (order[len(nodes) :] == -1).all()
    assert routes_of(order, via) == routes and routes_of(order) == (tuple(nodes),)
    assert routes_of(np.full(3, -1), np.zeros(3, bool)) == ()
