"""Every layout of TSPLIB, CVRPLIB and OPLib read."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import vrplib
from tsplib_texts import MATRIX, OP, TSP, VRP, refused, write

from arena.errors import ArenaError
from domains.combinatorial.distances import METRICS, matrix
from domains.combinatorial.tsplib import instances_of, read

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
here = pytest.mark.skipif(not DATA.is_dir(), reason=f"no files of TSPLIB: {DATA} is absent (set ARENA_DATA)")


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


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("a square", "and so on\x85 more", "it.tsp"),  # a dot-dot-dot of Windows, a line end of Unicode
        ("a square", "a\x0bb\x0cc\x1cd", "it.tsp"),
        ("EOF\n", "\x1a", "it.tsp"),  # how DOS ends a file
        ("NODE_COORD_SECTION\n", "NODE_COORD_SECTION : ", "it.tsp"),
        ("\n", "\r", "it.tsp"),
        ("\n", "\r\n", "IT.TSP.GZ"),
    ],
)
def test_files_as_other_machines_write_them(tmp_path, old, new, name):
    content = TSP.replace(old, new).encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    raw = read(tmp_path / name)
    assert raw.coords.tolist() == [[0, 0], [3, 4], [10, 0], [0.5, -2]] and raw.warnings == ()


def test_distances_that_lkh_calls_exact_are_not_rounded(tmp_path):
    path = write(tmp_path, TSP.replace("EUC_2D", "EXACT_2D"))
    assert (read(path).metric, read(path).rounding, read(path, "nint").metric) == ("euclid", "none", "EUC_2D")


def test_a_depot_beside_its_section_is_read(tmp_path):
    assert read(write(tmp_path, VRP.replace("DEPOT_SECTION\n1\n-1", "DEPOT_SECTION 1 -1"), "it.vrp")).ids.tolist() == [1, 2, 3, 4]


def test_more_nodes_than_can_be_played(tmp_path):
    rows = "\n".join(f"{i} {i} 0" for i in range(1, 32769))
    raw = read(write(tmp_path, f"TYPE : TSP\nDIMENSION : 32768\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n{rows}\n", "long.tsp"))
    with pytest.raises(ArenaError, match="long has 32768 nodes") as caught:
        instances_of([raw])
    assert "at most 32767" in caught.value.hint
