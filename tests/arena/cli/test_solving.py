"""`arena solve`: from an instance file to a solution file and a picture, and what it refuses."""

from __future__ import annotations

import pytest

SQUARE = "NAME : square\nTYPE : TSP\nDIMENSION : 5\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 0 10\n3 10 10\n4 10 0\n5 4 0\nEOF\n"
FAR = '''
import numpy as np

class Far:
    """Goes to the farthest node that is left."""

    def act(self, obs):
        away = np.hypot(*(obs["nodes"] - obs["nodes"][obs["origin"]]).T)
        return int(np.where(obs["action_mask"], away, -1).argmax())

class Stays:
    def act(self, obs):
        return int(obs["origin"])

class Breaks:
    def act(self, obs):
        raise ValueError("no idea")
'''


@pytest.fixture
def square(tmp_path):
    path = tmp_path / "square.tsp"
    path.write_text(SQUARE)
    return path


@pytest.fixture
def far(tmp_path):
    (tmp_path / "far.py").write_text(FAR)
    return tmp_path / "far.py"


def test_solution_picture_and_document(arena, square, tmp_path):
    done = arena("solve", square, "-a", "nearest-neighbour", "--out", tmp_path / "new" / "folder", "--json")
    found = done.document
    assert (done.code, done.err) == (0, "")
    assert (found["value"], found["best"], found["gap"], found["textbook"], found["feasible"]) == (40, None, None, 40, True)
    assert found["solution"] == [[1, 5, 4, 3, 2]] and found["decisions"] == 4 and found["played_as"] == "combinatorial/tsp-file-square-v1"
    tour = (tmp_path / "new" / "folder" / "square.nearest-neighbour.tour").read_text()
    assert [line for line in tour.splitlines() if line.isdecimal()] == ["1", "5", "4", "3", "2"]
    page = (tmp_path / "new" / "folder" / "square.nearest-neighbour.html").read_text()
    assert page.count("plotly-graph-div") == 1 and '<script src="http' not in page


def test_what_is_printed(arena, square, tmp_path):
    (tmp_path / "square.opt.tour").write_text("TYPE : TOUR\nTOUR_SECTION\n1 2 3 4 5 -1\n")
    done = arena("solve", square, "-a", "random", "--seed", 3, "--picture", "p.svg")
    assert done.code == 0 and "random solves square: tsp, 5 nodes" in done.err
    lines = {line.split("  ")[0]: line for line in done.out.splitlines()}
    assert "40 (square.opt.tour): gap" in lines["best known"] and "square.random.tour" in lines["solution"] and "p.svg" in lines["picture"]
    assert lines["feasible"].endswith("yes, by a checker apart from the kernel")
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def test_seed_decides_an_agents_luck(arena, square):
    def tour(seed):
        return arena("solve", square, "-a", "random", "--seed", seed, "--picture", "p.svg", "--force", "--json").document["solution"]

    tours = [tour(seed) for seed in (0, 1, 2, 0)]
    assert tours[0] == tours[3] and len({str(found) for found in tours}) > 1


def test_an_agent_of_ones_own_plays_in_its_process(arena, square, far):
    found = arena("solve", square, "-a", f"{far}:Far", "--json").document
    assert found["solution"][0] == [1, 3, 5, 2, 4] and found["agent"] == "far" and found["value"] == 14 + 12 + 11 + 14 + 10


@pytest.mark.parametrize(("name", "said"), [("Stays", "step 0: value 0"), ("Breaks", "step 0: ValueError: no idea")])
def test_an_agent_that_fails_leaves_no_files(arena, square, far, tmp_path, name, said):
    done = arena("solve", square, "-a", f"{far}:{name}")
    assert done.code == 3 and said in done.out and "cost" not in done.out
    found = arena("solve", square, "-a", f"{far}:{name}", "--json").document
    assert (found["value"], found["feasible"], found["solution_file"], found["picture"]) == (None, False, None, None) and said in found["failure"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["far.py", "square.tsp"]


def test_nothing_is_overwritten_unless_asked_and_never_the_instance(arena, square, tmp_path):
    written = tmp_path / "square.nearest-neighbour.tour"
    written.write_text("mine")
    done = arena("solve", square, "-a", "nearest-neighbour")
    assert done.code == 2 and "square.nearest-neighbour.tour is there already" in done.err and written.read_text() == "mine"
    assert arena("solve", square, "-a", "nearest-neighbour", "--force").code == 0 and "TOUR_SECTION" in written.read_text()
    drawing = tmp_path / "drawing.svg"  # an instance that is called like a picture
    drawing.write_text(SQUARE)
    done = arena("solve", drawing, "-a", "nearest-neighbour", "-d", "combinatorial", "--picture", drawing, "--force")
    assert done.code == 2 and drawing.read_text() == SQUARE


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere.tsp", "-a", "random"), 6, "there is no file nowhere.tsp"),
        (("far.py", "-a", "random"), 2, "nobody reads far.py"),
        (("far.py", "-a", "random", "-d", "bidding"), 6, "no domain is called 'bidding'"),
        (("square.tsp", "-a", "ratio-greedy"), 2, "ratio-greedy does not play square: tsp, 5 nodes"),
        (("square.tsp", "-a", "nobody"), 6, "no agent is called 'nobody'"),
        (("square.tsp", "-a", "random", "--rounding", "up"), 2, "rounding = 'up'"),
        (("square.tsp", "-a", "random", "--picture", "p.jpg"), 2, "p.jpg is no kind of picture"),
        (("square.tsp", "-a", "random", "--out", "far.py/x"), 2, "cannot be written"),
        (("square.tsp",), 2, "Missing option"),
    ],
)
def test_what_is_refused(arena, square, far, words, code, said):
    done = arena("solve", *words)
    assert done.code == code and said in done.err and "Traceback" not in done.err


def test_agents_that_could_are_named(arena, square):
    assert "these do: nearest-neighbour" in arena("solve", square, "-a", "ratio-greedy").err


def test_a_damaged_instance_is_told_with_its_line(arena, square):
    square.write_text(SQUARE.replace("4 10 0", "4 ten 0"))
    done = arena("solve", square, "-a", "random", "--json")
    assert done.code == 2 and done.document["code"] == "data.format" and "line" in done.document["message"]


def test_a_file_is_a_task_for_other_commands_too(arena, tmp_path):
    head = "TYPE : TSP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n"
    (tmp_path / "line.tsp").write_text(f"{head}1 0 0\n2 10 0\n3 -20 0\n4 50 0\n")  # the nearest neighbour goes 160, the best tour 140
    (tmp_path / "line.tour").write_text("TYPE : TOUR\nTOUR_SECTION\n1 2 4 3 -1\n")
    task = f"combinatorial/file(path='{tmp_path / 'line.tsp'}')"
    assert arena("check", "nearest-neighbour", "-t", task, "--json").document["ok"]
    assert arena("run", "-q", "-t", task, "-a", "nearest-neighbour").code == 0
    assert arena("replay", 1, "--scenario", 0, "--json").document["score"] == 0  # the textbook's
    assert arena("verify", 1, "--json").document["ok"]


def test_an_agent_that_cannot_says_what_to_do(arena, square):
    square.write_text(SQUARE.replace("4 10 0", "4 2e12 0"))
    done = arena("solve", square, "-a", "pyvrp(iterations=1)")
    (failed,) = [line for line in done.out.splitlines() if line.startswith("failed")]
    assert done.code == 3 and "step 0: a distance of 2000000000000; this solver counts in integers up to" in failed
