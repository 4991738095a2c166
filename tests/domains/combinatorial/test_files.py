"""Folders of the user's: every file named, right or wrong with its reason; instances found wherever they usually lie."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from arena.errors import ArenaError
from domains.combinatorial.distances import METRICS
from domains.combinatorial.fetch import origins
from domains.combinatorial.files import SETS, benchmark, best_known, check_folder, find
from domains.combinatorial.solutions import check_solution, read_solution
from domains.combinatorial.tsplib import read

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
here = pytest.mark.skipif(not (DATA / "combinatorial").is_dir(), reason=f"no files of TSPLIB: {DATA} is absent (set ARENA_DATA)")

SQUARE = "TYPE : TSP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 0 10\n3 10 10\n4 10 0\nEOF\n"
TOUR = "TYPE : TOUR\nTOUR_SECTION\n{} -1\n"
VRP = (
    "TYPE : CVRP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nCAPACITY : 10\nNODE_COORD_SECTION\n1 0 0\n2 0 10\n3 10 10\n4 10 0\n"
    "DEMAND_SECTION\n1 0\n2 4\n3 5\n4 6\nDEPOT_SECTION\n1\n-1\n"
)
OP = VRP.replace("CVRP", "OP").replace("CAPACITY", "COST_LIMIT").replace("DEMAND", "NODE_SCORE").replace(": 10", ": 25")


def folder_of(place: Path, **files: str) -> Path:
    for name, text in files.items():
        (place / name.replace("__", "/").replace("_", ".")).write_text(text)
    return place


def found(folder: Path) -> dict[str, tuple[str, bool, int, str]]:
    return {str(r.path.relative_to(folder)): (r.kind, r.ok, r.rows, r.message) for r in check_folder(folder)}


@here
def test_every_shared_file_is_right():
    reports = check_folder(DATA / "combinatorial")
    assert all(report.ok for report in reports), [report.message for report in reports if not report.ok]
    kinds = [report.kind for report in reports]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "tsp": 19, "atsp": 7, "cvrp": 12, "op": 9, "tour": 17, "solution": 12, "batch": 6, "best known": 1, "other": 1,
    }  # fmt: skip
    said = {report.path.name: report.message for report in reports}
    assert said["tsp225.opt.tour"] == "cost 3916, optimal" and said["X-n101-k25.sol"] == "cost 27591 with 26 routes, best known"
    assert "solutions right, mean length 16.557458" in said["tsp500_seed777_0-63.npz"] and "36.848242" in said["cvrp1000_0-63.npz"]


@here
def test_the_built_in_best_known_values_are_those_of_the_list_and_of_the_solutions():
    reports = {report.path.name: report for report in check_folder(DATA / "combinatorial")}
    assert len(best_known()) == reports["best_known.csv"].rows == 47
    for name in SETS["cvrplib"]:
        raw = read(DATA / "combinatorial" / "cvrplib" / f"{name}.vrp")
        solution = read_solution(DATA / "combinatorial" / "cvrplib" / f"{name}.sol", raw)
        assert check_solution(raw, solution.routes, solution.stated) == best_known()[name].value


def test_solutions_are_measured_against_the_instance_beside_them(tmp_path):
    folder = folder_of(
        tmp_path,
        a_tsp=SQUARE,
        a_tour=TOUR.format("1 3 2 4"),
        a_opt_tour=TOUR.format("1 2 3 4"),
        b_vrp=VRP,
        b_sol="Route #1: 1 2\nRoute #2: 3\nCost 54\n",
        c_oplib=OP,
        c_sol="Route #1: 1\nScore 4\n",
        a_me_tour=TOUR.format("1 2 3 4"),  # as `arena solve` names it
        d_tour=TOUR.format("1 2 3"),
        notes_md="# mine",
        best_known_csv="instance,best_known,status\na,40,optimal\nb,50,\nc,4,EA4OP heuristic\n",
    )
    (folder / "best.known.csv").rename(folder / "best_known.csv")
    reports = found(folder)
    assert reports["a.tsp"] == ("tsp", True, 4, "EUC_2D distances; optimal: 40")
    assert reports["a.opt.tour"] == ("tour", True, 4, "cost 40, optimal")
    assert reports["a.tour"] == ("tour", True, 4, "cost 48, 20 % off 40 (optimal)")
    assert reports["b.sol"] == ("solution", True, 3, "cost 54 with 2 routes, 8 % off 50 (best known)")
    assert reports["c.sol"] == ("solution", True, 2, "score 4, EA4OP heuristic")
    assert reports["a.me.tour"] == ("tour", True, 4, "cost 40, optimal")
    assert not reports["d.tour"][1] and "no instance d beside it" in reports["d.tour"][3]
    assert reports["notes.md"] == ("other", True, 0, "no instance or solution; ignored") and reports["best_known.csv"][:3] == ("best known", True, 3)


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({"a_tsp": SQUARE.replace("3 10 10", "3 10 ten")}, "a.tsp", "line 7: 'ten' in NODE_COORD_SECTION is no number; correct the line"),
        ({"a_tsp": SQUARE.replace("3 10 10", "3 10 ten"), "a_tour": TOUR.format("1 2 3 4")}, "a.tour", "line 7: 'ten'"),
        ({"a_tsp": SQUARE, "a_tour": TOUR.format("1 2 3")}, "a.tour", "node 4 is not visited"),
        ({"a_tsp": SQUARE, "a_opt_tour": TOUR.format("1 3 2 4"), "best_known_csv": "instance,best_known\na,40"}, "a.opt.tour", "optimal, is 20 %"),
        ({"b_vrp": VRP, "b_sol": "Route #1: 1 2 3\nCost 40\n"}, "b.sol", "route 1 carries 15, the capacity is 10"),
        ({"b_vrp": VRP, "b_sol": "Route #1: 1 2\nRoute #2: 3\nCost 53\n"}, "b.sol", "the file says 53, the routes cost 54; distances are rounded"),
        ({"c_oplib": OP, "c_sol": "Route #1: 1 2\nScore 9\n"}, "c.sol", "the tour is 34 long, the budget is 25"),
        ({"best_known_csv": "name,value\na,3"}, "best_known.csv", "its columns are name, value"),
        ({"best_known_csv": "instance,best_known\na,3\nb,many"}, "best_known.csv", "line 3: best_known of b is 'many'"),
        ({"z_npz": "rubbish"}, "z.npz", "is no readable .npz"),
        ({"z_tsp_gz": "rubbish"}, "z.tsp.gz", "damaged .gz"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path, files, name, said):
    folder = folder_of(tmp_path, **files)
    if (folder / "best.known.csv").exists():
        (folder / "best.known.csv").rename(folder / "best_known.csv")
    kind, ok, _, message = found(folder)[name]
    assert not ok and said in message and (name in message or name == "a.opt.tour" or "a.tsp" in message) and kind != "other"


def test_better_than_best_known_is_news_but_better_than_optimal_is_wrong(tmp_path):
    folder = folder_of(tmp_path, a_tsp=SQUARE, a_tour=TOUR.format("1 2 3 4"), c_oplib=OP, c_sol="Route #1: 1\n")
    table = folder / "best_known.csv"
    for status, right, said in (("optimal", False, "better than the optimum"), ("heuristic", True, "beats the best known")):
        table.write_text(f"instance,best_known,status\na,41,{status}\nc,3,{status}\n")
        for name in ("a.tour", "c.sol"):
            assert found(folder)[name][1] is right and said in found(folder)[name][3]


def test_solutions_in_a_batch_are_checked(tmp_path):
    coords = np.array([[[0, 0], [0, 1], [1, 1], [1, 0]]] * 2, float)
    tour = np.array([[2, 3, 0, 1]] * 2)
    for change, right in ((0.0, True), (0.01, False)):
        np.savez(tmp_path / "a.npz", coords=coords, tour=tour, length=np.array([4.0, 4.0 + change]))
        kind, ok, rows, message = found(tmp_path)["a.npz"]
        assert kind == "batch" and ok is right and ("mean length 4.0" in message if right else rows == 0 and "row 1" in message)
    for damaged in (tour[:1], tour + 3, np.zeros((2, 4), int), np.zeros(2)):
        np.savez(tmp_path / "a.npz", coords=coords, tour=damaged, length=np.full(2, 4.0))
        assert not found(tmp_path)["a.npz"][1]
    demand, capacity = np.array([[0, 1, 1, 1]] * 2), np.array([2, 2])
    np.savez(
        tmp_path / "a.npz", coords=coords, demand=demand, capacity=capacity, length=np.full(2, 4 + 2**0.5),
        order=np.array([[1, 2, 3]] * 2), via_depot=np.array([[1, 0, 1]] * 2),
    )  # fmt: skip
    assert found(tmp_path)["a.npz"][1]


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(ArenaError) as caught:
        check_folder(tmp_path / "nowhere")
    assert caught.value.code == "data.missing"


# ---- the sets of the tasks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["combinatorial/tsplib", "tsplib", "."])
def test_instances_are_found_in_the_usual_places(tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "a.tsp").write_text(SQUARE)
    (tmp_path / place / "b.atsp.gz").write_bytes(gzip.compress(SQUARE.encode()))
    assert find(tmp_path, "tsplib", ["b", "a"]) == [tmp_path / place / "b.atsp.gz", tmp_path / place / "a.tsp"]


def test_what_is_missing_is_named_with_how_to_get_it(tmp_path):
    (tmp_path / "a.tsp").write_text(SQUARE)
    for root in (tmp_path, None):
        with pytest.raises(ArenaError) as caught:
            find(root, "tsplib", ["a", "b", "c", "d", "e"] if root else ["b", "c", "d", "e"])
        error = caught.value
        assert error.code == "data.missing" and "no tsplib files of b, c, d and 1 more" in error.message
        assert error.context["missing"] == ["b", "c", "d", "e"]
        assert "arena data fetch tsplib" in error.hint and "combinatorial/tsplib" in error.hint
    with pytest.raises(ArenaError, match="cvrplib files of X-n101-k25"):
        benchmark(tmp_path, "cvrplib")


@here
def test_the_benchmarks_hold_their_sets_in_order_with_their_best_values():
    raws, record = benchmark(DATA, "tsplib")
    assert tuple(raw.name for raw in raws) == SETS["tsplib"] and record.coords.shape == (17, 1002, 2)
    assert record.best[3] == 7542 and record.size.tolist() == [raw.n for raw in raws] == sorted(raw.n for raw in raws)
    assert {METRICS[k] for k in record.metric.tolist()} == {"EUC_2D", "CEIL_2D", "ATT", "GEO"}
    raws, record = benchmark(DATA, "cvrplib")
    assert tuple(raw.name for raw in raws) == SETS["cvrplib"] and record.demand.shape == (12, 1001)
    assert record.best.tolist() == [best_known()[raw.name].value for raw in raws]


@here
def test_a_damaged_instance_of_a_benchmark_is_refused(tmp_path):
    shutil.copytree(DATA / "combinatorial" / "cvrplib", tmp_path / "cvrplib")
    broken = tmp_path / "cvrplib" / "X-n143-k7.vrp"
    broken.write_text(broken.read_text().replace("CAPACITY", "KAPACITY"))
    with pytest.raises(ArenaError, match="X-n143-k7.vrp: no CAPACITY"):
        benchmark(tmp_path, "cvrplib")


def test_origins_and_sets_agree():
    for data, names in SETS.items():
        suffix = {"tsplib": ".tsp", "cvrplib": ".vrp"}[data]
        assert {f"{name}{suffix}" for name in names} <= set(origins()[data]) and set(names) <= set(best_known())
