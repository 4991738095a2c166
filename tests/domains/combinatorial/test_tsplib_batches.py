"""Batches in `.npz`, and how instances become the kernel's record."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from tsplib_texts import MATRIX, OP, TSP, VRP, refused, write

from arena.errors import ArenaError
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.tsplib import LONGEST, instances_of, read, read_batch


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
