"""One file of the user's as a task: what is known of it, how a solution is judged, what is written down."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest

from arena import registry
from arena.errors import ArenaError
from arena.evaluation import check_plays
from domains.combinatorial import solve
from domains.combinatorial.solutions import read_solution

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
SQUARE = "NAME : square\nTYPE : TSP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 0 10.4\n3 10.4 10.4\n4 10.4 0\nEOF\n"
MATRIX = "NAME : m\nTYPE : {}\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EXPLICIT\nEDGE_WEIGHT_FORMAT : FULL_MATRIX\nEDGE_WEIGHT_SECTION\n{}\nEOF\n"
ROUTES = (
    "NAME : r\nTYPE : CVRP\nDIMENSION : 5\nEDGE_WEIGHT_TYPE : EUC_2D\nCAPACITY : 5\nNODE_COORD_SECTION\n1 0 0\n2 10 0\n3 20 0\n4 0 10\n5 0 20\n"
    "DEMAND_SECTION\n1 0\n2 2\n3 3\n4 4\n5 1\nDEPOT_SECTION\n1\n-1\nEOF\n"
)
PRIZES = (
    "NAME : o\nTYPE : OP\nDIMENSION : 4\nCOST_LIMIT : 45\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 10 0\n3 20 0\n4 0 50\n"
    "NODE_SCORE_SECTION\n1 3\n2 10\n3 20\n4 40\nDEPOT_SECTION\n1\n-1\nEOF\n"
)


def task_of(path: Path, **options) -> solve.OwnFile:
    text = "".join(f",{key}={value}" for key, value in options.items())
    return registry.task(f"combinatorial/file(path='{path.as_uri()}'{text})")


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def judged(task: solve.OwnFile, *actions: int) -> solve.Solved:
    return solve.judge(task, {"planner": np.array(actions, np.int16)})


def test_names_of_files_that_are_read():
    assert [solve.reads(Path(name)) for name in ("a.tsp", "A.VRP", "a.atsp.gz", "a.oplib", "a.sol", "a.npz", "tsp")] == [True] * 4 + [False] * 3


def test_a_tour_is_measured_by_the_textbook_where_nothing_is_known(tmp_path):
    task = task_of(written(tmp_path, "square.tsp", SQUARE))
    assert (task.id, task.value, task.measure, task.known) == ("combinatorial/tsp-file-square-v1", None, 40, None)
    found = judged(task, 2, 1, 3)
    assert (found.value, found.gap, found.nodes) == (10 + 10 + 15 + 15, None, [[1, 3, 2, 4]])
    assert found.drawn.title[0].startswith("cost 50, textbook rule 40: gap 25.00 %")
    told = solve.told(task, found)
    assert told["best"] is None and told["textbook"] == 40 and told["solution"] == [[1, 3, 2, 4]]


def test_rounding_is_a_choice(tmp_path):
    path = written(tmp_path, "square.tsp", SQUARE)
    assert (judged(task_of(path), 1, 2, 3).value, judged(task_of(path, rounding="none"), 1, 2, 3).value) == (40, pytest.approx(41.6))
    with pytest.raises(ArenaError, match="rounding") as caught:
        task_of(path, rounding="up")
    assert caught.value.code == "task.parameters"


def test_the_solution_beside_is_the_best_known(tmp_path):
    path = written(tmp_path, "square.tsp", SQUARE)
    written(tmp_path, "square.opt.tour", "TYPE : TOUR\nDIMENSION : 4\nTOUR_SECTION\n1 2 3 4 -1\nEOF\n")
    task = task_of(path)
    assert (task.value, task.source, task.known) == (40, "square.opt.tour", ((1, 2, 3),))
    found = judged(task, 2, 1, 3)
    assert found.gap == 25 and found.drawn.best.nodes == [1, 2, 3]
    assert set(solve.figures(found)) == {"tour"}


def test_a_damaged_solution_beside_is_told_and_not_used(tmp_path):
    path = written(tmp_path, "square.tsp", SQUARE)
    written(tmp_path, "square.tour", "TYPE : TOUR\nTOUR_SECTION\n1 2 3 -1\n")
    task = task_of(path)
    assert task.value is None and "node 4 is not visited" in solve.warnings(task)[0]


def test_a_stated_cost_does_not_bind_under_another_rounding(tmp_path):
    path = written(tmp_path, "r.vrp", ROUTES.replace("20 0", "20.4 0"))
    written(tmp_path, "r.sol", "Route #1: 1 2\nRoute #2: 3 4\nCost 80\n")
    assert task_of(path).value == 80 and task_of(path, rounding="none").value == pytest.approx(80.8)


def test_listed_values_hold_for_the_librarys_rounding_only(tmp_path):
    text = SQUARE.replace("square", "eil51")
    path = written(tmp_path, "eil51.tsp", text)
    task = task_of(path)
    assert (task.value, task.source) == (426, "listed under that name, optimal")
    assert task_of(path, rounding="none").value is None
    assert solve.told(task, judged(task, 1, 2, 3))["best_source"].endswith("beaten, so that is another instance")


def test_a_matrix_is_played_as_atsp(tmp_path):
    rows = "0 1 9 9\n1 0 2 9\n9 2 0 3\n9 9 3 0"
    task = task_of(written(tmp_path, "m.tsp", MATRIX.format("TSP", rows)))
    assert task.domain.problem == "atsp" and task.id == "combinatorial/atsp-file-m-v1" and "played as atsp" in task.summary
    assert "metric" not in task.domain.roles[0].modes[0].observation_space.spaces  # what agents of atsp tasks know
    assert judged(task, 1, 2, 3).value == 15 and set(solve.figures(judged(task, 1, 2, 3))) == {"matrix"}
    check_plays(registry.candidate("nearest-neighbour"), task)
    with pytest.raises(ArenaError, match="does not play"):
        check_plays(registry.candidate("ratio-greedy"), task)


def by_matrix(text: str) -> str:
    """The text of a file whose coordinates are rounded to the same distances in a lower triangle, and only drawn."""
    before, points, after = re.split(r"NODE_COORD_SECTION\n((?:\d+ .*\n)+?)(?=[A-Z])", text)
    xy = np.array([line.split()[1:] for line in points.splitlines()], float)
    rows = [[int(np.hypot(*(xy[i] - xy[j])) + 0.5) for j in range(i)] for i in range(1, len(xy))]
    weights = "\n".join(" ".join(map(str, row)) for row in rows)
    header = before.replace("EUC_2D", "EXPLICIT\nEDGE_WEIGHT_FORMAT : LOWER_ROW")
    return f"{header}EDGE_WEIGHT_SECTION\n{weights}\n{after.replace('EOF', '')}DISPLAY_DATA_SECTION\n{points}EOF\n"


@pytest.mark.parametrize(("name", "text", "actions"), [("r.vrp", ROUTES, (2, 4, 7, 8)), ("o.oplib", PRIZES, (1, 2))])
def test_routes_and_prizes_by_a_matrix_are_played_as_by_the_points(tmp_path, name, text, actions):
    (tmp_path / "points").mkdir()
    plain, task = task_of(written(tmp_path / "points", name, text)), task_of(written(tmp_path, name, by_matrix(text)))
    assert task.domain.problem == plain.domain.problem and task.domain.explicit and "distances in a matrix" in task.summary
    assert (task.id, task.measure) == (plain.id, plain.measure)
    found, wanted = judged(task, *actions), judged(plain, *actions)
    assert (found.value, found.nodes, found.feasible) == (wanted.value, wanted.nodes, True)
    assert set(solve.figures(found)) == set(solve.figures(wanted))
    undrawn = task_of(written(tmp_path, f"undrawn-{name}", by_matrix(text).split("DISPLAY")[0] + "EOF\n"))
    assert set(solve.figures(judged(undrawn, *actions))) == {"matrix"}
    for agent in ("nearest-neighbour", "savings", "pyvrp") if name == "r.vrp" else ("prize-ratio", "prize-insertion", "pyvrp"):
        check_plays(registry.candidate(agent), task)


def test_routes_are_judged_and_written(tmp_path):
    task = task_of(written(tmp_path, "r.vrp", ROUTES))
    found = judged(task, 2, 4, 7, 8)
    assert (found.value, found.nodes) == (80, [[1, 2, 3], [1, 4, 5]])
    path = tmp_path / solve.solution_name(task, "me")
    solve.write(found, path)
    assert path.name == "r.me.sol" and read_solution(path, task.raw).routes == found.routes
    assert solve.load(path=str(tmp_path / "r.vrp")).value is None  # what was written is not taken for the best known


def test_prizes_include_the_depots(tmp_path):
    task = task_of(written(tmp_path, "o.oplib", PRIZES))
    found = judged(task, 1, 2)
    assert (found.value, found.maximised, task.measure) == (33, True, 33)
    path = tmp_path / solve.solution_name(task, "me")
    solve.write(found, path)
    assert read_solution(path, task.raw).stated == 33


def test_what_is_broken_off_is_no_solution(tmp_path):
    task = task_of(written(tmp_path, "square.tsp", SQUARE))
    found = judged(task, 1, 2)
    assert not found.feasible and found.gap is None and "node 4 is not visited" in found.reason
    with pytest.raises(ArenaError, match="node 4 is not visited"):
        solve.write(found, tmp_path / "x.tour")
    assert solve.told(task, found)["solution"] is None and solve.told(task, None)["reason"] == ""


def test_gzipped_files_and_odd_paths(tmp_path):
    folder = tmp_path / "a b, (1) 50%"
    folder.mkdir()
    (folder / "square.tsp.gz").write_bytes(gzip.compress(SQUARE.encode()))
    task = task_of(folder / "square.tsp.gz")
    assert task.raw.name == "square" and task.domain.n == 4
    assert solve.load(path=str(folder / "square.tsp.gz")).id == task.id


def test_there_is_nothing_to_train_on(tmp_path):
    task = task_of(written(tmp_path, "square.tsp", SQUARE))
    with pytest.raises(ArenaError, match="no training scenarios"):
        task.view.sample("train", [0])


def test_a_checker_that_disagrees_is_a_bug(tmp_path, monkeypatch):
    task = task_of(written(tmp_path, "square.tsp", SQUARE))
    monkeypatch.setattr(solve, "check_solution", lambda raw, routes: 41.0)
    with pytest.raises(ArenaError) as caught:
        judged(task, 1, 2, 3)
    assert caught.value.code == "kernel.cost" and caught.value.exit_code == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data are not here")
@pytest.mark.parametrize(("file", "best"), [("tsplib/bays29.tsp", 2020), ("tsplib/gr96.tsp", 55209), ("cvrplib/X-n101-k25.vrp", 27591)])
def test_playing_the_best_known_solution_is_a_gap_of_nothing(file, best):
    task = task_of(DATA / file)
    moves = [2 * node + (place == 0 and number > 0) for number, route in enumerate(task.known) for place, node in enumerate(route)]
    actions = moves if task.raw.problem == "cvrp" else list(task.known[0])
    found = judged(task, *actions)
    assert (found.value, found.gap, task.value) == (best, 0, best) and found.drawn.title[0].endswith("gap 0 %")
    if file == "tsplib/bays29.tsp":
        assert set(solve.figures(found)) == {"tour"}  # a matrix whose file shows where its nodes are


def test_a_best_known_of_nothing_has_no_gap(tmp_path):
    path = written(tmp_path, "o.oplib", PRIZES.replace("1 3\n2 10", "1 0\n2 10"))
    written(tmp_path, "o.sol", "Route #1:\nScore 0\n")
    task = task_of(path)
    found = judged(task, 1, 2)
    assert (task.value, found.value, found.gap) == (0, 30, None)
    assert found.drawn.title[0].endswith(" 0")


def test_a_wrong_solution_beside_the_file_is_told_with_the_rounding(tmp_path):
    path = written(tmp_path, "r.vrp", ROUTES)
    written(tmp_path, "r.sol", "Route #1: 1 2\nRoute #2: 3 4\nCost 1\n")
    (said,) = task_of(path).warnings
    assert "the file says 1, the routes cost 80; distances are rounded by nint" in said
