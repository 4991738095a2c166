"""Pictures show what happened: their layers against tours, routes and packings written down by hand."""

import base64
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from arena.errors import ArenaError
from arena.task import Task
from domains.combinatorial import known
from domains.combinatorial.figures import draw, draw_task
from domains.combinatorial.figures_episode import percent, pictures, solution, view
from domains.combinatorial.figures_still import still
from domains.combinatorial.figures_style import LEGEND, look, plotted, ways
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.scenarios import instances

SQUARE = np.array([[[0, 0], [0, 1], [1, 1], [1, 0]]], np.float64)
NOTHING = np.zeros(0, np.uint8)


def task_of(problem: str, scenario, n: int, status: str = "optimal", name: str = "mine-v1") -> Task:
    config = {"problem": problem, "best": {"status": status}}
    pick = lambda split, indices, seeds: scenario[list(indices)]  # noqa: E731
    domain = Combinatorial(problem, n)
    return Task(id=f"combinatorial/{name}", domain=domain, tier="tiny", n=len(scenario.size), config=config, references=lambda task: {}, draw=pick)


def tsp(best: float = 4.0) -> Task:
    return task_of("tsp", instances(coords=SQUARE, best=best), 4)


def cvrp() -> Task:
    coords = np.array([[[0, 0], [1, 0], [2, 0], [0, 1], [0, 2]]], np.float64)
    return task_of("cvrp", instances(coords=coords, demand=np.array([[0, 2, 3, 4, 1]]), capacity=5, best=8.0), 5)


def op() -> Task:
    coords = np.array([[[0, 0], [1, 0], [2, 0], [0, 5], [9, 9]]], np.float64)
    return task_of("op", instances(coords=coords, prize=np.array([[0, 10, 20, 40, 5]]), budget=4.5, best=30.0), 5)


def kp() -> Task:
    return task_of("kp", instances(prize=np.array([[10, 7, 3, 1]]), demand=np.array([[6, 4, 5, 9]]), capacity=10, best=17.0), 4)


def atsp(n: int = 4, high: float = 9.0) -> Task:
    matrix = np.array([[[0, 1, high, high], [high, 0, 2, high], [high, high, 0, 3], [4, high, high, 0]]], np.float64)
    return task_of("atsp", instances(matrix=matrix, best=10.0), n)


def layers(picture) -> dict:
    return {layer.name.split(" (")[0].split(":")[0]: layer for layer in picture.layers}


def edges(layer) -> set:
    """The pairs of points a layer joins."""
    points = list(zip(layer.x.tolist(), layer.y.tolist(), strict=True))
    return {tuple(sorted(pair)) for pair in zip(points, points[1:], strict=False) if not np.isnan(pair).any()}


def moves(*actions: int) -> dict:
    return {"planner": np.array(actions, np.int16)}


# ---- one episode ------------------------------------------------------------------------------------------------------


def test_a_tour_shows_where_it_differs_from_the_best():
    seen = view(tsp(), 0, moves(2, 1, 3), known=(np.array([1, 2, 3]), NOTHING))  # 0-2-1-3-0 crosses twice, 0-1-2-3-0 is the square
    (picture,) = pictures(seen).values()
    found = layers(picture)
    corner = [tuple(point) for point in SQUARE[0]]
    pair = lambda a, b: tuple(sorted((corner[a], corner[b])))  # noqa: E731
    assert edges(found["in both"]) == {pair(1, 2), pair(0, 3)}
    assert edges(found["only here"]) == {pair(0, 2), pair(1, 3)}
    assert edges(found["only in the optimum"]) == {pair(0, 1), pair(2, 3)}
    assert found["only in the optimum"].dash == "dash" != found["only here"].dash  # not colour alone
    assert found["start"].symbol == "star" and (found["start"].x[0], found["start"].y[0]) == (0, 0)
    assert picture.lines[0] == f"cost {2 + 2 * 2**0.5:.4f}, optimum 4: gap {100 * (2 + 2 * 2**0.5 - 4) / 4:.2f} %"
    assert "2 edges in both, 2 only here" in picture.alt


def test_without_a_best_solution_the_tour_stands_alone_beside_its_value():
    seen = view(task_of("tsp", instances(coords=SQUARE, best=5.0), 4, "heuristic"), 0, moves(1, 2, 3))
    assert set(layers(pictures(seen)["tour"])) == {"this solution", "nodes", "start"}
    assert seen.title[0] == "cost 4, best known 5: 20.00 % better"


def test_routes_are_told_apart_by_colour_dash_and_symbol_and_state_their_loads():
    actions = moves(2 * 1, 2 * 2, 2 * 3 + 1, 2 * 4)  # 1 and 2, home, 3 and 4
    seen = view(cvrp(), 0, actions, known=(np.array([1, 2, 4, 3]), np.array([0, 0, 1, 0])))
    found = pictures(seen)
    one, two, depot = found["routes"].layers
    assert (one.name, two.name, depot.symbol) == ("route 1: 5 of 5", "route 2: 5 of 5", "star")
    assert len({one.colour, two.colour}) == len({one.dash, two.dash}) == len({one.symbol, two.symbol}) == 2
    np.testing.assert_array_equal(np.c_[one.x, one.y][:-1], [[0, 0], [1, 0], [2, 0], [0, 0]])
    np.testing.assert_array_equal(np.c_[two.x, two.y][:-1], [[0, 0], [0, 1], [0, 2], [0, 0]])
    assert "route 2, load 5 of 5<br>customer 3, demand 4" in two.text
    assert seen.title[1] == "4 customers, 2 routes, capacity 5" and seen.found.cost == 8
    assert "only here" not in {name for name, layer in layers(found["difference"]).items() if edges(layer)}  # the same routes, one turned round


def test_orienteering_sizes_nodes_by_prize_and_leaves_the_unvisited_hollow():
    seen = view(op(), 0, moves(1, 2), known=(np.array([2, 1, -1, -1]), NOTHING))
    found = layers(pictures(seen)["tour"])
    visited, left = found["visited"], found["not visited"]
    np.testing.assert_array_equal(visited.x, [1, 2])
    np.testing.assert_array_equal(left.x, [0, 9])
    assert left.hollow and not visited.hollow and left.size[0] > visited.size[1] > visited.size[0] > left.size[1]
    assert seen.title == ("value 30, optimum 30: gap 0 %", "2 of 4 nodes, length 4 of 4.5000")
    assert len(edges(found["in both"])) == 3 and not edges(found["only here"])


def test_packings_are_four_groups_with_a_symbol_each():
    seen = view(kp(), 0, moves(1, 2), known=(np.array([0, 1, -1, -1]), NOTHING))
    found = layers(pictures(seen)["packing"])
    where = {name: list(zip(layer.x.tolist(), layer.y.tolist(), strict=True)) for name, layer in found.items()}
    expected = {"left out": [(9, 1)], "packed in both": [(4, 7)], "packed only here": [(5, 3)], "packed only in the optimum": [(6, 10)]}
    assert where == expected
    assert len({(layer.symbol, layer.hollow) for layer in found.values()}) == 4
    assert seen.title[1] == "2 of 4 items, weight 9 of 10"
    alone = layers(pictures(view(kp(), 0, moves(0, 1)))["packing"])
    assert {name: len(layer.x) for name, layer in alone.items()} == {"left out": 2, "packed": 2}


def test_a_matrix_stands_in_the_order_of_the_tour():
    seen = view(atsp(), 0, moves(3, 1, 2), known=(np.array([1, 2, 3]), NOTHING))  # 0-3-1-2-0; best 0-1-2-3-0
    picture = pictures(seen)["matrix"]
    order = [0, 3, 1, 2]
    costs = seen.scenario.matrix[0].numpy()[np.ix_(order, order)]
    np.testing.assert_array_equal(picture.heat[~np.eye(4, dtype=bool)], costs[~np.eye(4, dtype=bool)])
    assert np.isnan(np.diag(picture.heat)).all()
    here, best = picture.layers
    assert sorted(zip(here.y, here.x, strict=True)) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert {(order[int(a)], order[int(b)]) for a, b in zip(best.y, best.x, strict=True)} == {(0, 1), (1, 2), (2, 3), (3, 0)}
    assert "1 of 4 arcs shared" in picture.alt and here.symbol != best.symbol


def test_forbidden_arcs_do_not_take_all_the_colours():
    matrix = np.full((1, 20, 20), 7.0)
    matrix[0, 0, 5] = 1e8
    task = task_of("atsp", instances(matrix=matrix, best=140.0), 20)
    picture = pictures(view(task, 0, moves(*range(1, 20))))["matrix"]
    assert picture.span == (7, 7) and plotted(picture).data[0].zmax == 7


def test_an_explicit_tour_is_drawn_where_its_nodes_are_shown():
    seen = view(atsp(), 0, moves(1, 2, 3), known=(np.array([1, 2, 3]), NOTHING), xy=SQUARE[0])
    found = layers(pictures(seen)["tour"])
    assert len(edges(found["in both"])) == 4 and len(found["nodes"].x) == 4


def test_geographic_nodes_are_drawn_with_north_above():
    coords = np.array([[[10.0, 50.0], [11.0, 51.0], [12.0, 40.0]]])  # latitude, longitude
    task = task_of("tsp", instances(coords=coords, metric=6, best=1.0), 3)
    picture = pictures(view(task, 0, moves(1, 2)))["tour"]
    assert picture.axes == ("longitude", "latitude") and layers(picture)["start"].x[0] == 50


def test_where_each_instance_has_a_status_the_best_is_called_by_it():
    both = task_of("tsp", instances(coords=np.concatenate([SQUARE, SQUARE]), best=4.0), 4)
    task = replace(both, config={**both.config, "best": ["best known", "optimal"]})
    assert [view(task, index, moves(1, 2, 3)).best_name for index in (0, 1)] == ["best known", "optimum"]
    named = replace(task, config={**task.config, "instances": ["one", "two"]})
    assert view(named, 1, moves(1, 2, 3)).title[1] == "two: 4 nodes"


def test_what_was_broken_off_does_not_go_home():
    seen = view(tsp(), 0, moves(1, 2))
    assert seen.found.routes == [[0, 1, 2]] and not seen.found.feasible and seen.title[1] == "4 nodes; broken off after 2 nodes; not feasible"


def test_a_solution_counts_what_the_checker_counts():
    row = cvrp().sample("test", [0])
    overloaded = solution("cvrp", row, np.array([1, 2, 3, 4]), np.array([0, 0, 0, 0]))
    assert not overloaded.feasible and overloaded.routes == [[0, 1, 2, 3, 4, 0]]


@pytest.mark.parametrize("actions", [{}, {"planner": np.zeros(9, np.int16)}, {"planner": np.zeros((3, 1), np.int16)}])
def test_actions_of_another_shape_are_refused(actions):
    with pytest.raises(ArenaError) as caught:
        draw(tsp(), 0, actions)
    assert caught.value.code == "figure.actions"


def test_illegal_actions_are_refused_as_a_replay_refuses_them():
    with pytest.raises(ArenaError) as caught:
        draw(tsp(), 0, moves(1, 1, 2))
    assert caught.value.code == "verify.actions"


@pytest.mark.parametrize(
    ("task", "actions", "names"),
    [
        (tsp(), (1, 2, 3), {"tour"}), (cvrp(), (2, 4, 7, 8), {"routes"}), (op(), (1, 2), {"tour"}), (kp(), (0, 1), {"packing"}),
        (atsp(), (1, 2, 3), {"matrix"}),
    ],
)  # fmt: skip
def test_every_figure_has_words_a_transparent_ground_and_one_scale(task, actions, names):
    found = draw(task, 0, moves(*actions))
    assert set(found) == names
    for figure in found.values():
        assert figure.layout.meta["alt"] and figure.layout.title.text
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert (figure.layout.yaxis.scaleanchor == "x") == (names != {"packing"})
        assert "NaN" not in figure.to_json()


def test_many_routes_are_told_by_hovering_and_their_legs_to_the_depot_stand_back():
    n = LEGEND + 4
    points = np.c_[np.arange(n + 1), np.arange(n + 1) % 3].astype(float)[None]
    demand = np.r_[0, np.ones(n, int)][None]
    task = task_of("cvrp", instances(coords=points, demand=demand, capacity=1, best=1.0), n + 1)
    (picture,) = pictures(view(task, 0, moves(*(2 * k + 1 for k in range(1, n + 1))))).values()
    legs, *routes, depot = picture.layers
    assert len(edges(legs)) == len(routes) == n and legs.width < 1
    assert all(len(route.x) == 2 and np.isnan(route.x[1]) for route in routes)  # the one customer
    assert [trace.name for trace in plotted(picture).data if trace.showlegend] == [legs.name, depot.name]


def test_looks_differ():
    assert len({look(kind) for kind in range(120)}) == 120


def test_ways_break_between_routes():
    x, _ = ways(SQUARE[0], [[0, 1], [2, 3, 0]])
    np.testing.assert_array_equal(np.isnan(x), [False, False, True, False, False, False, True])


# ---- where the best is kept -------------------------------------------------------------------------------------------


def test_frozen_solutions_are_drawn_beside_the_episode(monkeypatch):
    from domains.combinatorial.best import Best

    best = Best(np.array([[3, 2, 1], [1, 2, 3]], np.int16), np.zeros((2, 0), np.uint8), np.array([4.0, 4.0]), {"status": "optimal"})
    monkeypatch.setattr(known, "load_best", lambda name: best)
    both = replace(instances(coords=np.concatenate([SQUARE, SQUARE])), best=torch.tensor([4.0, 4.0], dtype=torch.float64))
    seen = view(task_of("tsp", both, 4, name="tsp20-tiny-v1"), 1, moves(2, 1, 3))
    assert seen.best is not None and seen.best.nodes == [1, 2, 3]


def test_solution_files_of_a_set_are_found_in_the_data_folder(tmp_path, monkeypatch):
    from arena import settings

    monkeypatch.setattr(settings, "_flags", {"data": str(tmp_path)})
    head = "NAME : ulysses16\nTYPE : TSP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n"
    (tmp_path / "tsplib").mkdir()
    (tmp_path / "tsplib" / "ulysses16.tsp").write_text(head + "1 0 0\n2 0 9\n3 9 9\n4 9 0\nEOF\n")
    task = task_of("tsp", instances(coords=9 * SQUARE, metric=1, best=36.0), 4, name="tsplib-real-v1")
    assert known.best_of(task, 0) is None
    (tmp_path / "tsplib" / "ulysses16.opt.tour").write_text("TYPE : TOUR\nTOUR_SECTION\n1 4 3 2 -1\n")
    order, _ = known.best_of(task, 0)
    assert order.tolist() == [3, 2, 1]
    (tmp_path / "tsplib" / "ulysses16.opt.tour").write_text("TYPE : TOUR\nTOUR_SECTION\n1 4 3 -1\n")
    assert known.best_of(task, 0) is None  # damaged: the picture goes without


# ---- several agents ---------------------------------------------------------------------------------------------------


@pytest.fixture
def agents() -> dict:
    return {
        "far": {"gap": np.array([30.0, 10.0, 20.0]), "cost": np.array([13.0, 11.0, 12.0]), "seconds": np.full(3, 0.1)},
        "near": {"gap": np.array([1.0, np.nan, 0.0]), "cost": np.array([10.1, np.nan, 10.0]), "seconds": np.array([4.0, np.nan, 2.0])},
        "slow": {"gap": np.array([9.0, 9.0, 9.0]), "cost": np.full(3, 10.9), "seconds": np.full(3, 9.0)},
    }


@pytest.fixture
def three() -> Task:
    return task_of("tsp", instances(coords=np.repeat(SQUARE, 3, 0), best=np.array([10.0, 10.0, 10.0])), 4)


def values(entry) -> list:
    """Numbers of a trace however Plotly packs them."""
    return list(np.frombuffer(base64.b64decode(entry["bdata"]), entry["dtype"])) if isinstance(entry, dict) else list(entry)


def test_gaps_are_boxes_with_the_best_agent_on_top(three, agents):
    figure = draw_task(three, agents)["gap"]
    assert [box.name for box in figure.data] == ["near", "slow", "far"]
    assert values(figure.data[0].x) == [1, 0] and figure.data[0].y[0] == "near<br>mean 0.50 %, 1 failed"
    assert "near 0.50 %, slow 9.00 %, far 20.00 %" in figure.layout.meta["alt"]
    assert len({box.marker.symbol for box in figure.data}) == 3


def test_gap_over_time_with_the_front(three, agents):
    figure = draw_task(three, agents)["time"]
    front, *points = figure.data
    assert figure.layout.xaxis.type == "log"
    assert [(point.name, point.x[0], point.y[0]) for point in points] == [("far", pytest.approx(0.1), 20), ("near", 3, 0.5), ("slow", 9, 9)]
    np.testing.assert_allclose(values(front.x), [0.1, 3])  # slow is beaten in both
    assert "time" not in draw_task(three, {"far": {k: v for k, v in agents["far"].items() if k != "seconds"}})


def test_the_table_has_a_row_per_instance(three, agents):
    table = draw_task(three, agents)["instances"].data[0]
    columns = [list(column) for column in table.cells["values"]]
    assert columns[:3] == [["0", "1", "2"], ["4"] * 3, ["10"] * 3]
    assert columns[3] == ["10.1000<br>1.00 %", "failed", "10<br>0 %"]  # near
    assert [title.strip("<b>/") for title in table.header["values"]][3:] == ["near", "slow", "far"]


def test_a_long_table_keeps_the_largest_gaps():
    n = 400
    task = task_of("tsp", instances(coords=np.repeat(SQUARE, n, 0), best=4.0), 4)
    gap = np.random.default_rng(0).permutation(n).astype(float)
    figure = draw_task(task, {"one": {"gap": gap, "cost": gap + 4}})["instances"]
    assert sorted(int(name) for name in figure.data[0].cells["values"][0]) == sorted(np.flatnonzero(gap >= 100).tolist())
    assert "largest gaps of 400" in figure.layout.meta["alt"]


def test_vectors_of_another_length_are_refused(three, agents):
    agents["far"]["gap"] = np.zeros(2)
    with pytest.raises(ArenaError) as caught:
        draw_task(three, agents)
    assert caught.value.code == "figure.metrics" and "far: gap has shape (2,)" in caught.value.message


def test_an_agent_that_failed_everywhere_comes_last(three, agents):
    nothing = dict.fromkeys(("gap", "cost", "seconds"), np.full(3, np.nan))
    figures = draw_task(three, {"gone": nothing, **agents})
    assert [box.name for box in figures["gap"].data][-1] == "gone" and "gone" not in [trace.name for trace in figures["time"].data]
    assert all("NaN" not in figure.to_json() for figure in figures.values())


def test_percents_below_a_thousandth_are_zero():
    assert (percent(0.0009), percent(-0.0009), percent(0.001), percent(12.346)) == ("0 %", "0 %", "0.001 %", "12.35 %")


# ---- pictures that stand still ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "begins"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_still_pictures_are_files_of_their_kind(tmp_path, ending, begins):
    still(tuple(pictures(view(tsp(), 0, moves(1, 2, 3))).values()), tmp_path / f"a{ending}")
    assert (tmp_path / f"a{ending}").read_bytes().startswith(begins)


def test_the_same_pictures_give_the_same_file(tmp_path):
    seen = view(cvrp(), 0, moves(2, 4, 7, 8), known=(np.array([1, 2, 4, 3]), np.array([0, 0, 1, 0])))
    for name in "ab":
        still(tuple(pictures(seen).values()), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_still_matrix_and_a_still_packing(tmp_path):
    for task, actions in ((atsp(), (1, 2, 3)), (kp(), (0, 1))):
        still(tuple(pictures(view(task, 0, moves(*actions))).values()), tmp_path / f"{task.domain.problem}.png")
        assert (tmp_path / f"{task.domain.problem}.png").stat().st_size > 5000


def test_figures_open_as_plotly_figures():
    assert all(isinstance(figure, go.Figure) for figure in draw(tsp(), 0, moves(1, 2, 3)).values())
