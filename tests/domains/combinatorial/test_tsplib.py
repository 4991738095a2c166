"""Every layout of TSPLIB, CVRPLIB and OPLib read; every damaged file refused by name, with the line and the remedy."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import vrplib
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.combinatorial.distances import METRICS, matrix
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.tsplib import LONGEST, instances_of, read, read_batch

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
here = pytest.mark.skipif(not DATA.is_dir(), reason=f"no files of TSPLIB: {DATA} is absent (set ARENA_DATA)")

TSP = """NAME : four
TYPE : TSP
COMMENT : a square: with a colon
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 3 4
3 1e+01 0
4 0.5 -2
EOF
"""
VRP = """NAME : small
TYPE : CVRP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
CAPACITY : 10
NODE_COORD_SECTION
1 0 0
2 3 4
3 6 8
4 0 5
DEMAND_SECTION
1 0
2 4
3 5
4 6
DEPOT_SECTION
1
-1
EOF
"""
OP = """NAME : prizes
TYPE : OP
DIMENSION : 3
COST_LIMIT : 12.5
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 3 4
3 90 0
NODE_SCORE_SECTION
1 7
2 5
3 9
DEPOT_SECTION
1
-1
EOF
"""
MATRIX = "TYPE : {kind}\nDIMENSION : {n}\nEDGE_WEIGHT_TYPE : EXPLICIT\nEDGE_WEIGHT_FORMAT : {layout}\nEDGE_WEIGHT_SECTION\n{numbers}\nEOF\n"


def write(folder: Path, text: str, name: str = "it.tsp") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def refused(path: Path, code: str = "data.format", reader=read) -> str:
    """What is said of a file, which it names, and what to do about it."""
    with pytest.raises(ArenaError) as caught:
        reader(path)
    assert caught.value.code == code and path.name in caught.value.message and caught.value.hint
    return str(caught.value)


# ---- what is read ------------------------------------------------------------------------------------------------------


def test_a_tsp(tmp_path):
    raw = read(write(tmp_path, TSP, "four.tsp"))
    assert (raw.name, raw.problem, raw.n, raw.metric, raw.rounding, raw.comment) == ("four", "tsp", 4, "EUC_2D", "nint", "a square: with a colon")
    assert raw.coords.tolist() == [[0, 0], [3, 4], [10, 0], [0.5, -2]] and raw.ids.tolist() == [1, 2, 3, 4] and raw.warnings == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" : ", ":\t").replace(" ", "\t"),
        lambda text: text.replace("EOF\n", ""),
        lambda text: text.replace("EOF", " EOF \n\nrubbish behind the end"),
        lambda text: text.replace("1 0 0\n2 3 4\n", "1\n0 0 2\n3 4 "),  # numbers flow over lines
        lambda text: text.replace("2 3 4\n3 1e+01 0\n", "3 10 0\n2 3.0 +4\n"),  # rows in any order
        lambda text: text.replace("NODE_COORD_SECTION", "NODE_COORD_SECTION:"),
        lambda text: "\ufeff" + text.replace("\n", "\n\n"),
        lambda text: text.replace("TYPE : TSP", "type: tsp (M. Hofmeister)"),
    ],
)
def test_the_same_instance_however_it_is_written(tmp_path, change):
    plain, other = read(write(tmp_path, TSP)), read(write(tmp_path, change(TSP), "other.tsp"))
    assert np.array_equal(plain.coords, other.coords) and other.warnings == ()


def test_latin_1_and_gzip(tmp_path):
    path = tmp_path / "old.tsp.gz"
    path.write_bytes(gzip.compress(TSP.replace("a square", "Grötschel").encode("latin-1")))
    raw = read(path)
    assert raw.name == "old" and raw.comment.startswith("Grötschel") and raw.n == 4


def test_what_is_unknown_is_told_and_a_missing_type_is_taken_from_the_name(tmp_path):
    raw = read(write(tmp_path, VRP.replace("TYPE : CVRP\n", "BEST : 3\nVEHICLES : 2\n", 1), "small.vrp"))
    assert raw.problem == "cvrp" and len(raw.warnings) == 3
    assert all(any(word in said for said in raw.warnings) for word in ("no TYPE", "BEST", "VEHICLES 2"))


def test_the_depot_comes_first_and_ids_are_kept(tmp_path):
    text = VRP.replace("DEPOT_SECTION\n1", "DEPOT_SECTION\n3").replace("3 5\n4 6", "3 0\n4 6").replace("\n1 0\n2 4", "\n1 7\n2 4")
    raw = read(write(tmp_path, text, "small.vrp"))
    assert raw.ids.tolist() == [3, 1, 2, 4] and raw.demand.tolist() == [0, 7, 4, 6] and raw.coords[0].tolist() == [6, 8] and raw.capacity == 10
    assert raw.demand.dtype == np.int64


def test_an_op_keeps_the_depots_prize_and_nodes_out_of_reach(tmp_path):
    raw = read(write(tmp_path, OP, "prizes.oplib"))
    assert (raw.problem, raw.budget, raw.prize.tolist()) == ("op", 12.5, [7, 5, 9])


@pytest.mark.parametrize(
    ("layout", "pick"),
    [
        ("FULL_MATRIX", lambda m: m.ravel()),
        ("UPPER_ROW", lambda m: [m[i, j] for i in range(5) for j in range(i + 1, 5)]),
        ("LOWER_ROW", lambda m: [m[i, j] for i in range(5) for j in range(i)]),
        ("UPPER_DIAG_ROW", lambda m: [m[i, j] for i in range(5) for j in range(i, 5)]),
        ("LOWER_DIAG_ROW", lambda m: [m[i, j] for i in range(5) for j in range(i + 1)]),
        ("UPPER_COL", lambda m: [m[i, j] for j in range(5) for i in range(j)]),
        ("LOWER_COL", lambda m: [m[i, j] for j in range(5) for i in range(j + 1, 5)]),
        ("UPPER_DIAG_COL", lambda m: [m[i, j] for j in range(5) for i in range(j + 1)]),
        ("LOWER_DIAG_COL", lambda m: [m[i, j] for j in range(5) for i in range(j, 5)]),
    ],
)
def test_every_layout_of_a_matrix(tmp_path, layout, pick):
    half = np.triu(np.random.default_rng(3).integers(0, 50, (5, 5)), 1)
    full = half + half.T + np.diag([9999] * 5)  # a diagonal that must be ignored
    numbers = [str(number) for number in pick(full)]
    path = write(tmp_path, MATRIX.format(kind="TSP", n=5, layout=layout, numbers=" ".join(numbers[:3]) + "\n" + "\n".join(numbers[3:])))
    raw = read(path)
    assert np.array_equal(raw.matrix, half + half.T) and raw.matrix.dtype == np.int64 and (raw.metric, raw.coords) == ("EXPLICIT", None)
    short = write(tmp_path, MATRIX.format(kind="TSP", n=5, layout=layout, numbers=" ".join(numbers[1:])))
    assert f"has {len(numbers) - 1} numbers, {layout} of 5 nodes wants {len(numbers)}" in refused(short)


def test_an_atsp_may_differ_by_direction_and_hold_fractions(tmp_path):
    raw = read(write(tmp_path, MATRIX.format(kind="ATSP", n=3, layout="FULL_MATRIX", numbers="9999999 1 2\n3 100000000 4.5\n5 6 -1"), "a.atsp"))
    assert raw.matrix.tolist() == [[0, 1, 2], [3, 0, 4.5], [5, 6, 0]] and raw.matrix.dtype == np.float64


@pytest.mark.parametrize("kind", METRICS[1:])
def test_every_metric(tmp_path, kind):
    raw = read(write(tmp_path, TSP.replace("EUC_2D", kind)))
    assert raw.metric == kind
    assert instances_of([raw]).metric.tolist() == [METRICS.index(kind)]


def test_rounding_goes_by_the_set_or_by_what_is_asked(tmp_path):
    named = {name: write(tmp_path, VRP, name) for name in ("CMT4.vrp", "Golden_1.vrp", "Li_21.vrp", "tai75a.vrp", "X-n4-k1.vrp", "linear4.vrp")}
    found = {name: read(path).metric for name, path in named.items()}
    assert found == dict.fromkeys(list(named)[:4], "euclid") | dict.fromkeys(list(named)[4:], "EUC_2D")
    assert read(named["CMT4.vrp"], "nint").metric == "EUC_2D" and read(named["X-n4-k1.vrp"], "none").metric == "euclid"
    with pytest.raises(ArenaError) as caught:
        read(write(tmp_path, TSP.replace("EUC_2D", "ATT")), "none")
    assert "only EUC_2D" in caught.value.hint


def test_display_coordinates_are_only_drawn(tmp_path):
    text = MATRIX.format(kind="TSP", n=3, layout="UPPER_ROW", numbers="1 2 3").replace("EOF", "DISPLAY_DATA_SECTION\n1 0 0\n2 1 1\n3 2 0\nEOF")
    raw = read(write(tmp_path, text))
    assert raw.coords is None and raw.display.tolist() == [[0, 0], [1, 1], [2, 0]]


def test_a_limit_on_the_duration_is_refused_where_it_could_bind(tmp_path):
    header = "DISTANCE : {}\nSERVICE_TIME : {}\nCAPACITY"
    loose = read(write(tmp_path, VRP.replace("CAPACITY", header.format(999999, 0)), "CMT1.vrp"))
    assert loose.problem == "cvrp" and loose.warnings == ()
    assert "DISTANCE 40" in refused(write(tmp_path, VRP.replace("CAPACITY", header.format(40, 0)), "CMT6.vrp"), "data.unsupported")
    refused(write(tmp_path, VRP.replace("CAPACITY", header.format(999, 1000)), "CMT7.vrp"), "data.unsupported")


# ---- the files themselves ----------------------------------------------------------------------------------------------


@here
def test_every_file_of_the_list_is_read_as_listed():
    rows = list(csv.DictReader((DATA / "best_known.csv").open()))
    for row in rows:
        raw = read(DATA / row["file"])
        assert (raw.name, raw.problem, raw.n) == (row["instance"], row["problem"].lower(), int(row["dimension"])), row
        assert raw.metric == row["edge_weight_type"] and raw.warnings == (), row
    assert len(rows) == 47


@here
@pytest.mark.parametrize("name", ["X-n101-k25", "X-n303-k21"])
def test_cvrplib_agrees_with_vrplib(name):
    path = DATA / "cvrplib" / f"{name}.vrp"
    raw, other = read(path), vrplib.read_instance(path)
    assert np.array_equal(raw.coords, other["node_coord"]) and np.array_equal(raw.demand, other["demand"]) and raw.capacity == other["capacity"]
    unrounded = matrix("euclid", torch.from_numpy(raw.coords)).numpy()
    assert np.abs(unrounded - other["edge_weight"]).max() < 1e-9


@pytest.mark.parametrize("layout", ["LOWER_ROW", "FULL_MATRIX"])
def test_matrices_agree_with_vrplib(tmp_path, layout):
    half = np.triu(np.random.default_rng(4).integers(1, 50, (5, 5)), 1)
    full = half + half.T
    rows = full if layout == "FULL_MATRIX" else [full[i, :i] for i in range(1, 5)]
    text = MATRIX.format(kind="CVRP", n=5, layout=layout, numbers="\n".join(" ".join(map(str, row)) for row in rows))
    text = text.replace("TYPE", "CAPACITY : 9\nTYPE", 1)
    text = text.replace("EOF", "DEMAND_SECTION\n1 0\n2 1\n3 1\n4 1\n5 1\nDEPOT_SECTION\n1\n-1\nEOF")
    path = write(tmp_path, text, "e.vrp")
    assert np.array_equal(read(path).matrix, vrplib.read_instance(path)["edge_weight"])


# ---- what is refused ---------------------------------------------------------------------------------------------------

BAD = [
    (TSP, "DIMENSION : 4", "DIMENSION : 2", "data.format", "a tsp has at least 3 nodes"),
    (TSP, "DIMENSION : 4", "DIMENSION : many", "data.format", "line 4: DIMENSION is 'many'"),
    (TSP, "DIMENSION : 4\n", "", "data.format", "no DIMENSION"),
    (TSP, "DIMENSION : 4", "DIMENSION : 5", "data.format", "line 6: DIMENSION is 5, but NODE_COORD_SECTION has 4 rows"),
    (TSP, "DIMENSION : 4", "DIMENSION : 4000000000", "data.format", "NODE_COORD_SECTION has 4 rows"),
    (TSP, "DIMENSION : 4", "DIMENSION : 4\nDIMENSION : 4", "data.format", "line 5: DIMENSION comes twice"),
    (TSP, "3 1e+01 0", "2 1e+01 0", "data.format", "line 9: id 2 comes twice"),
    (TSP, "4 0.5", "6 0.5", "data.format", "line 10: id 6 in NODE_COORD_SECTION where 4 is missing"),
    (TSP, "1 0 0\n2 3 4\n3 1e+01 0\n4 0", "0 0 0\n1 3 4\n2 1e+01 0\n3 0", "data.format", "line 7: node ids in NODE_COORD_SECTION count from 0"),
    (TSP, "3 1e+01 0", "3 nan 0", "data.format", "line 9: nan in NODE_COORD_SECTION"),
    (TSP, "3 1e+01 0", "3 -inf 0", "data.format", "line 9: -inf in NODE_COORD_SECTION"),
    (TSP, "3 1e+01 0", "3 ten 0", "data.format", "line 9: 'ten' in NODE_COORD_SECTION is no number"),
    (TSP, "3 1e+01 0", "3 1e+01", "data.format", "line 9: 2 numbers in a row of NODE_COORD_SECTION"),
    (TSP, "3 1e+01 0", "3 1e+01 0 7", "data.format", "line 9: 4 numbers in a row"),
    (TSP, "3 1e+01 0", "three 1e+01 0", "data.format", "line 9: 'three 1e+01 0' is neither a number nor KEY : value"),
    (TSP, "TYPE : TSP", "TYPE  TSP", "data.format", "line 2: 'TYPE  TSP' is neither"),
    (TSP, "TYPE : TSP", "12 : TSP", "data.format", "line 2: '12 : TSP' before any section"),
    (TSP, "TYPE : TSP", "TYPE : SOP", "data.unsupported", "line 2: TYPE is SOP"),
    (TSP, "TYPE : TSP", "TYPE : TOUR", "data.unsupported", "is a tour"),
    (TSP, "EUC_2D", "XRAY1", "data.unsupported", "line 5: EDGE_WEIGHT_TYPE XRAY1 is not supported"),
    (TSP, "EUC_2D", "EUC_3D", "data.unsupported", "EUC_3D is not supported"),
    (TSP, "EDGE_WEIGHT_TYPE : EUC_2D\n", "", "data.format", "no EDGE_WEIGHT_TYPE"),
    (TSP, "EUC_2D", "EUC_2D\nNODE_COORD_TYPE : THREED_COORDS", "data.unsupported", "three dimensions"),
    (TSP.replace("EUC_2D", "GEO"), "3 1e+01 0", "3 120 45", "data.format", "120 of node 3 is no latitude"),
    (TSP, "NODE_COORD_SECTION\n", "FIXED_EDGES_SECTION\n1 2\n-1\nNODE_COORD_SECTION\n", "data.unsupported", "line 6: FIXED_EDGES_SECTION"),
    (TSP, "NODE_COORD_SECTION\n", "NODE_COORDS_SECTION\n", "data.unsupported", "line 6: NODE_COORDS_SECTION is not known"),
    (TSP, "EOF", "NODE_COORD_SECTION\n1 1 1\n", "data.format", "line 11: NODE_COORD_SECTION comes twice"),
    (TSP, TSP[TSP.index("NODE") :], "EOF", "data.format", "no NODE_COORD_SECTION"),
    (TSP, TSP, "\0\1\2", "data.format", "is no text file"),
    (VRP, "CAPACITY : 10", "CAPACITY : 5", "data.format", "demand 6 of node 4 exceeds the capacity"),
    (VRP, "CAPACITY : 10", "CAPACITY : 0", "data.format", "CAPACITY is 0"),
    (VRP, "CAPACITY : 10", "CAPACITY : -3", "data.format", "CAPACITY is -3"),
    (VRP, "CAPACITY : 10", "CAPACITY : 10.5", "data.format", "line 5: CAPACITY is 10.5"),
    (VRP, "CAPACITY : 10", "CAPACITY : 1e300", "data.format", "CAPACITY is 1e300"),
    (VRP, "CAPACITY : 10\n", "", "data.format", "no CAPACITY"),
    (VRP, "\n2 4\n3 5\n4 6", "\n2 4\n3 -5\n4 6", "data.format", "demand -5 of node 3"),
    (VRP, "\n2 4\n3 5\n4 6", "\n2 4\n3 0.5\n4 6", "data.format", "of node 3 is 0.5"),
    (VRP, "SECTION\n1 0\n2 4", "SECTION\n1 2\n2 4", "data.format", "the depot, node 1, demands 2"),
    (VRP, "DEPOT_SECTION\n1\n-1", "DEPOT_SECTION\n1\n2\n-1", "data.format", "2 depots: 1, 2 in DEPOT_SECTION"),
    (VRP, "DEPOT_SECTION\n1\n-1", "DEPOT_SECTION\n-1", "data.format", "no depot in DEPOT_SECTION"),
    (VRP, "DEPOT_SECTION\n1\n-1\n", "", "data.format", "no DEPOT_SECTION"),
    (VRP, "DEPOT_SECTION\n1\n-1", "DEPOT_SECTION\n9\n-1", "data.format", "depot 9 in DEPOT_SECTION is no node"),
    (VRP, "DEMAND_SECTION\n1 0\n2 4\n3 5\n4 6\n", "", "data.format", "no DEMAND_SECTION"),
    (VRP, "DEPOT_SECTION", "TIME_WINDOW_SECTION\n1 0 9\nDEPOT_SECTION", "data.unsupported", "time windows"),
    (VRP, "DIMENSION : 4", "DIMENSION : 1", "data.format", "a cvrp has at least 2 nodes"),
    (OP, "COST_LIMIT : 12.5", "COST_LIMIT : -1", "data.format", "COST_LIMIT is -1"),
    (OP, "COST_LIMIT : 12.5\n", "", "data.format", "no COST_LIMIT"),
    (OP, "3 9\n", "3 -9\n", "data.format", "score -9 of node 3"),
    (OP, "3 9\n", "3 9.25\n", "data.format", "of node 3 is 9.25"),
]


@pytest.mark.parametrize(("text", "old", "new", "code", "said"), BAD, ids=[row[4][:60] for row in BAD])
def test_bad_texts_are_refused_with_line_and_remedy(tmp_path, text, old, new, code, said):
    assert old in text
    assert said in refused(write(tmp_path, text.replace(old, new, 1), "it.txt"), code)


def test_what_is_odd_but_valid(tmp_path):
    raw = read(write(tmp_path, VRP.replace("2 3 4\n3 6 8\n4 0 5", "2 0 0\n3 0 0\n4 0 0").replace("\n3 5", "\n3 0"), "it.vrp"))
    assert raw.warnings == ("all nodes lie at one point",) and raw.demand.tolist() == [0, 4, 0, 6]
    decimal = read(write(tmp_path, TSP.replace("EUC_2D", "GEO").replace("2 3 4", "2 3.75 4")))
    assert len(decimal.warnings) == 1 and "degrees.minutes" in decimal.warnings[0]


@pytest.mark.parametrize(
    ("kind", "layout", "numbers", "said"),
    [
        ("TSP", "FULL_MATRIX", "0 1 2 1 0 3 2 4 0", "distance 3 between nodes 2 and 3 differs from the way back"),
        ("TSP", "FULL_MATRIX", "0 1 2 1 0 3 2 3", "has 8 numbers, FULL_MATRIX of 3 nodes wants 9"),
        ("ATSP", "FULL_MATRIX", "0 1 2 1 0 -3 2 4 0", "distance -3 between nodes 2 and 3"),
        ("TSP", "UPPER_ROW", "1 2 x", "line 6: 'x' in EDGE_WEIGHT_SECTION is no number"),
        ("TSP", "UPPER_ROW", "1 2 inf", "line 6: inf in EDGE_WEIGHT_SECTION"),
        ("TSP", "FUNCTION", "1 2 3", "EDGE_WEIGHT_FORMAT FUNCTION is not supported"),
        ("TSP", "", "1 2 3", "no EDGE_WEIGHT_FORMAT"),
    ],
)
def test_bad_matrices(tmp_path, kind, layout, numbers, said):
    assert said in refused(write(tmp_path, MATRIX.format(kind=kind, n=3, layout=layout, numbers=numbers)))


def test_files_that_are_no_texts(tmp_path):
    assert "no file" in refused(tmp_path / "absent.tsp", "data.missing")
    (tmp_path / "cut.tsp.gz").write_bytes(gzip.compress(TSP.encode())[:-12])
    (tmp_path / "fake.tsp.gz").write_bytes(b"NAME : x")
    assert "damaged .gz" in refused(tmp_path / "cut.tsp.gz") and "damaged .gz" in refused(tmp_path / "fake.tsp.gz")
    (tmp_path / "empty.txt").write_bytes(b"")
    refused(tmp_path / "empty.txt", "data.unsupported")
    (tmp_path / "folder.tsp").mkdir()
    refused(tmp_path / "folder.tsp", "data.read")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(VRP) - 1), st.integers(0, 40), st.text(max_size=6))
def test_no_damage_raises_anything_but_an_explained_error(tmp_path_factory, at, cut, extra):
    path = tmp_path_factory.getbasetemp() / "damaged.vrp"
    path.write_bytes((VRP[:at] + extra + VRP[at + cut :]).encode("utf-8", "surrogatepass"))
    try:
        raw = read(path)
    except ArenaError as error:
        assert error.hint and error.code.startswith("data.")
    else:
        assert raw.problem == "tsp" or (raw.demand[0] == 0 and (raw.demand <= raw.capacity).all())
        assert np.isfinite(raw.coords).all()


# ---- batches and the record --------------------------------------------------------------------------------------------


def test_batches(tmp_path):
    rng = np.random.default_rng(1)
    coords, demand = rng.random((3, 5, 2)), rng.integers(1, 9, (3, 5)) * np.array([0, 1, 1, 1, 1])
    np.savez(tmp_path / "tsp.npz", coords=coords)
    np.savez(tmp_path / "cvrp.npz", coords=coords, demand=demand, capacity=np.array([30, 30, 40]))
    np.savez(tmp_path / "op.npz", coords=coords, prize=demand, budget=np.array([1.0, 2.0, 3.0]))
    np.savez(tmp_path / "atsp.npz", matrix=rng.random((3, 5, 5)))
    found = {name: read_batch(tmp_path / f"{name}.npz") for name in ("tsp", "cvrp", "op", "atsp")}
    assert all([raw.problem for raw in raws] == [name] * 3 for name, raws in found.items())
    assert found["tsp"][1].metric == "euclid" and np.array_equal(found["tsp"][1].coords, coords[1]) and found["cvrp"][2].capacity == 40
    assert found["op"][2].budget == 3.0 and found["atsp"][0].matrix.diagonal().tolist() == [0] * 5 and found["tsp"][2].name == "tsp-2"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"points": np.zeros((2, 3, 2))}, "no array 'coords'"),
        ({"coords": np.zeros((2, 3, 3))}, "coords is float64 (2, 3, 3)"),
        ({"coords": np.zeros((2, 2, 2))}, "instances of 2 nodes"),
        ({"coords": np.zeros((3, 2))}, "coords is float64 (3, 2)"),
        ({"coords": np.zeros((2, 3, 2), bool)}, "coords is bool"),
        ({"coords": np.array([[[0, 0], [1, np.nan], [2, 2]]])}, "row 0: coordinate nan of node 2"),
        ({"matrix": np.array([[[0, 1, 2], [1, 0, np.inf], [1, 1, 0]]])}, "row 0: distance inf between nodes 2 and 3"),
        ({"coords": np.zeros((1, 3, 2)), "demand": np.zeros((1, 3))}, "no array 'capacity'"),
        ({"coords": np.zeros((2, 3, 2)), "demand": np.zeros((1, 3)), "capacity": np.ones(2)}, "demand is float64 (1, 3)"),
        ({"coords": np.zeros((1, 3, 2)), "demand": np.array([[0, 1, 7]]), "capacity": np.ones(1)}, "row 0: demand 7 of node 3 exceeds the capacity"),
        ({"coords": np.zeros((1, 3, 2)), "demand": np.array([[0, 0.5, 1]]), "capacity": np.ones(1)}, "demand of node 2 is 0.5"),
        ({"coords": np.zeros((1, 3, 2)), "prize": np.array([[0, 1, 1]]), "budget": np.array([np.nan])}, "row 0: COST_LIMIT is nan"),
        ({"coords": np.array([[1, None]], object)}, "pickled objects"),
    ],
)
def test_bad_batches(tmp_path, arrays, said):
    np.savez(tmp_path / "it.npz", **arrays)
    assert said in refused(tmp_path / "it.npz", reader=read_batch)


def test_damaged_batches(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, coords=np.zeros((1, 3, 2)))
    (tmp_path / "cut.npz").write_bytes(buffer.getvalue()[:-40])
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as odd:
        odd.writestr("coords.npy", b"\x93NUMPY rubbish")
    assert "is no readable .npz" in refused(tmp_path / "cut.npz", reader=read_batch)
    refused(tmp_path / "odd.npz", reader=read_batch)
    refused(tmp_path / "absent.npz", "data.missing", read_batch)


def test_instances_of_different_size_share_a_padded_record(tmp_path):
    small, large = read(write(tmp_path, VRP, "a.vrp")), read(write(tmp_path, VRP.replace("EUC_2D", "CEIL_2D"), "b.vrp"))
    text = VRP.replace("DIMENSION : 4", "DIMENSION : 3").replace("4 0 5\n", "").replace("4 6\n", "")
    record = instances_of([small, read(write(tmp_path, text, "c.vrp")), large], n=6)
    assert record.size.tolist() == [4, 3, 4] and record.coords.shape == (3, 6, 2) and record.metric.tolist() == [1, 1, 2]
    assert record.demand[1].tolist() == [0, 4, 5, 0, 0, 0] and record.best.isnan().all() and record.capacity.tolist() == [10] * 3
    domain = Combinatorial("cvrp", 6, metrics=True)
    state = domain.reset(record)
    assert state.mask.view(3, 6, 2).any(-1).sum(1).tolist() == [3, 2, 3]


def test_an_explicit_tsp_is_a_record_with_a_matrix_and_mixtures_are_refused(tmp_path):
    plain = read(write(tmp_path, TSP))
    explicit = read(write(tmp_path, MATRIX.format(kind="TSP", n=3, layout="UPPER_ROW", numbers="1 2 3"), "m.tsp"))
    one_way = read(write(tmp_path, MATRIX.format(kind="ATSP", n=4, layout="FULL_MATRIX", numbers="0 " * 16), "m.atsp"))
    record = instances_of([explicit, one_way])
    assert record.matrix.shape == (2, 4, 4) and record.matrix[0, 1].tolist() == [1, 0, 3, 0] and record.coords.shape == (2, 0, 2)
    for raws in ([plain, explicit], [plain, read(write(tmp_path, OP, "o.oplib"))], []):
        with pytest.raises(ArenaError) as caught:
            instances_of(raws)
        assert caught.value.code == "data.mixed"
    for n in (3, LONGEST + 1):
        with pytest.raises(ArenaError, match="4 nodes in a batch"):
            instances_of([plain], n)
