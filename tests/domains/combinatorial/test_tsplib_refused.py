"""Every damaged text refused by name, with the line and the remedy."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tsplib_texts import MATRIX, OP, TSP, VRP, refused, write

from arena.errors import ArenaError
from domains.combinatorial.tsplib import read

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
    (TSP, "3 1e+01 0", "3 1e300 0", "data.format", "coordinate 1e+300 of node 3"),
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
    (OP, "COST_LIMIT : 12.5", "COST_LIMIT : inf", "data.format", "COST_LIMIT is inf"),
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
    unit = read(write(tmp_path, TSP.replace("2 3 4\n3 1e+01 0\n4 0.5 -2", "2 .3 .4\n3 .9 .1\n4 .5 .2"), "it.tsp"))
    assert len(unit.warnings) == 1 and "within 0.9 of each other" in unit.warnings[0] and "rounding none" in unit.warnings[0]
    both = read(write(tmp_path, TSP.replace("TYPE : TSP", "TYPE : ATSP"), "it.atsp"))
    assert both.problem == "tsp" and "played as tsp" in both.warnings[0]
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


@settings(max_examples=150)
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
