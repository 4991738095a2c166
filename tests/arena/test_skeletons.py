"""What `arena new` writes works as it is: its own tests pass, it is clean code, and it plays in every kind of task."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gymnasium import spaces
from toy_domains import Aim, aim, shop, village, walk

from arena import registry
from arena.cli import main
from arena.contract import check_agent
from arena.domain import Mode
from arena.errors import ArenaError
from arena.skeletons import agent_skeleton, domain_skeleton

RUFF = [str(Path(sys.executable).with_name("ruff")), "check", "--isolated", "--line-length", "120", "--select", "E,F,I,UP,B", "."]
START = "import sys; from arena.cli import main; sys.exit(main())"


def run(*words, cwd, path=None):
    """A process of its own, without settings of the user's; `path` is seen before all else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARENA_", "PYTHONPATH"))}
    more = {"ARENA_HOME": str(cwd / "home"), "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run([str(word) for word in words], cwd=cwd, env=kept | more, capture_output=True, text=True, timeout=240)


def made(skeleton, folder):
    """The class a written agent skeleton defines."""
    path = skeleton.write(folder)[0]
    spec = importlib.util.spec_from_file_location(f"written_{folder.name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return next(value for value in vars(module).values() if getattr(value, "__module__", "") == spec.name and isinstance(value, type))


class Kinds(Aim):
    """The aim with another action space, which says nothing about the shot: every third step would do."""

    def __init__(self, space, mask=None):
        super().__init__()
        (mode,) = self.roles[0].modes
        more = {} if mask is None else {"action_mask": spaces.MultiBinary(len(mask))}
        seen = spaces.Dict({**mode.observation_space.spaces, **more})
        shown = {} if mask is None else {"action_mask": torch.tensor(mask, dtype=torch.int8)}

        def observe(scenario, state):
            return {**Aim.observe(self, scenario, state), **{name: row.expand(len(state.miss), -1) for name, row in shown.items()}}

        def expand(scenario, state, action):
            return torch.zeros(len(state.miss), 2)

        other = Mode("other", seen, space, observe=observe, expand=expand)
        self.roles = (replace(self.roles[0], modes=(other,)),)


SPACES = {
    "discrete": (spaces.Discrete(7),),
    "discrete from 3": (spaces.Discrete(4, start=3),),
    "masked": (spaces.Discrete(4), [0, 0, 1, 1]),
    "masked from -2": (spaces.Discrete(4, start=-2), [0, 1, 0, 1]),
    "multi-discrete": (spaces.MultiDiscrete([3, 4], start=[1, -9]),),
    "multi-binary": (spaces.MultiBinary(5),),
    "unbounded box": (spaces.Box(-torch.inf, torch.inf, (2, 3)),),
    "box above zero": (spaces.Box(2.0, 5.0, ()),),
    "box of integers": (spaces.Box(-7, -3, (2,), int),),
}
TASKS = {name: lambda words=words: replace(aim(), domain=Kinds(*words)) for name, words in SPACES.items()}
TASKS |= {"walk": walk, "shop": shop, "aim": aim, "planner": lambda: village(("planner",), {"worker": "toy-worker"})}
SEATED = {
    "worker": lambda: village(("worker",), {"planner": "toy-planner"}),
    "planner and worker": lambda: village(("planner", "worker"), {}),
}


@pytest.fixture
def of_task(monkeypatch):
    """The skeleton for a task that no domain lists."""

    def skeleton(task, batched):
        monkeypatch.setattr(registry, "task", lambda reference: task)
        monkeypatch.setattr("arena.contract.tiny_task", lambda patterns: "bidding/tiny-v1")
        return agent_skeleton("new-one", task.id, batched)

    return skeleton


# ---- agents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TASKS, *SEATED])
def test_a_batched_agent_plays_every_kind_of_task(tmp_path, of_task, name):
    task = (TASKS | SEATED)[name]()
    report = check_agent(made(of_task(task, True), tmp_path), task)
    assert report.ok, [check for check in report.checks if not check.ok]


@pytest.mark.parametrize("name", TASKS)
def test_a_one_observation_agent_plays_every_kind_of_task_of_one_seat(tmp_path, of_task, name):
    from arena.making import built

    task = TASKS[name]()
    kind = made(of_task(task, False), tmp_path)
    report = check_agent(lambda: built(kind, {}, "new-one"), task)
    assert report.ok, [check for check in report.checks if not check.ok]


@pytest.mark.parametrize("name", SEATED)
def test_several_seats_ask_for_batched_code(of_task, name):
    with pytest.raises(ArenaError) as caught:
        of_task(SEATED[name](), False)
    assert caught.value.code == "new.batched" and "--batched" in caught.value.hint


def test_so_do_rules_that_no_space_says(of_task):
    task = aim()
    (mode,) = task.domain.roles[0].modes
    task.domain.roles = (replace(task.domain.roles[0], modes=(replace(mode, legal=lambda scenario, state, shot: shot.norm(dim=1) <= 1),)),)
    with pytest.raises(ArenaError) as caught:
        of_task(task, False)
    assert caught.value.code == "new.batched" and "the rules of mode 'shot'" in caught.value.message
    assert "what the rules of the mode ask for" in of_task(task, True).files["new_one.py"]


def test_the_docstring_lists_what_is_seen_and_answered(of_task):
    text = agent_skeleton("new-one", "bidding/standard", False).files["new_one.py"]
    assert "Written for bidding/standard-v1: 6 campaigns" in text and 'TASK = "bidding/tiny-v1"' not in text
    lines = [line.split(None, 1) for line in text.split('"""')[1].splitlines() if line.startswith("    ")]
    assert ['obs["theta"]', "float64, 0 .. 1"] in lines and ["action", "int64, 0 .. 300"] in lines
    assert ["obs", "float32 [8], -inf .. inf"] in lines and ["action", "float32, -4 .. 4"] in lines
    batched = of_task(SEATED["worker"](), True).files["new_one.py"]
    assert '    obs["action_mask"]  int8 [B, S, 4], 0 or 1\n' in batched and "    action              int64 [B, S], 0 .. 3\n" in batched
    assert "int64 [2], (1 to -9" not in batched
    assert "int64 [2], (-9 to 1, by component) .. (-6 to 3, by component)" in of_task(TASKS["multi-discrete"](), False).files["new_one.py"]


def test_the_agents_own_tests_pass_and_their_code_is_clean(tmp_path):
    for words in (("plain",), ("batched", "--batched"), ("spoiled",)):
        assert main(["new", "agent", *words, "--dir", str(tmp_path)]) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["batched", "plain", "spoiled", "test_batched", "test_plain", "test_spoiled"]
    assert run(*RUFF, cwd=tmp_path).returncode == 0
    spoiled = tmp_path / "spoiled.py"
    spoiled.write_text(spoiled.read_text().replace("return _some_legal_action(self.space, obs)", "return 301"))
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 1 and "2 failed, 4 passed" in done.stdout, done.stdout
    assert "FAILED test_spoiled.py" in done.stdout and "value 301, allowed 0..300" in done.stdout


# ---- domains ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop_package(tmp_path_factory):
    """A generated domain, and the folder it is installed in (for this test alone)."""
    folder = tmp_path_factory.mktemp("domain")
    domain_skeleton("corner-shop").write(folder)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    done = run(*pip, "--target", folder / "site", folder / "corner-shop", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_domains_own_tests_pass_and_its_code_is_clean(tmp_path):
    domain_skeleton("corner-shop").write(tmp_path)  # as written, not installed
    assert run(*RUFF, cwd=tmp_path / "corner-shop").returncode == 0
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "corner-shop", cwd=tmp_path)
    assert done.returncode == 0 and "14 passed" in done.stdout, done.stdout


def test_an_installed_domain_is_listed_and_played(shop_package):
    def arena(*commands):
        """All in one process: what they print, the last code."""
        script = f"import sys; from arena.cli import main; sys.exit([main(words) for words in {list(map(str.split, commands))}][-1])"
        done = run(sys.executable, "-c", script, cwd=shop_package, path=shop_package / "site")
        assert done.returncode == 0 and "broken" not in done.stderr, done.stderr
        return done.stdout

    run_it = "run -q -t corner-shop/tiny-v1 -a corner-shop-baseline -a random --csv"
    scores = {line["agent"]: float(line["score"]) for line in csv.DictReader(arena(run_it).splitlines())}
    assert scores["corner-shop-baseline"] == 0 and -1 <= scores["random"] < 0
    told = arena("list domains", "list tasks", "list agents", "check corner-shop-baseline", "verify 1 2")
    assert all(f"\n{name} " in told for name in ("corner-shop", "corner-shop/tiny-v1", "corner-shop-baseline"))
    assert "agent corner-shop-baseline   contract ok   " in told


def test_a_frozen_task_of_it_is_fixed(shop_package):
    def arena(*words):
        return run(sys.executable, "-c", START, *words, cwd=shop_package, path=shop_package / "corner-shop")

    # what pip would write for an editable install: where the entry points are read
    (found,) = (shop_package / "site").glob("*.dist-info")
    (shop_package / "corner-shop" / found.name).symlink_to(found)
    done = arena("task", "freeze", "corner-shop/tiny-v1")
    assert done.returncode == 0 and (shop_package / "corner-shop" / "corner_shop" / "frozen" / "tiny-v1.json").exists(), done.stderr
    kernel = shop_package / "corner-shop" / "corner_shop" / "kernel.py"
    kernel.write_text(kernel.read_text().replace("version = 1 ", "version = 2 "))
    changed = arena("task", "show", "corner-shop/tiny-v1")
    assert changed.returncode == 2 and "is not the task that was frozen: kernel differ" in changed.stderr


# ---- names and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [lambda name: agent_skeleton(name, "bidding/tiny-v1", False), domain_skeleton])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-Agent", "is no name for"), ("", "is no name for"), ("2fast", "is no name for"), ("-x", "is no name for"), ("a/b", "is no name for"),
        ("trailing-", "is no name for"), ("../up", "is no name for"), ("x" * 65, "is no name for"), ("class", "is a word of Python"),
        ("torch", "would hide the Python module 'torch'"), ("json", "would hide"), ("arena", "would hide"), ("ünïcode", "is no name for"),
    ],
)  # fmt: skip
def test_names_that_cannot_be(write, name, told):
    with pytest.raises(ArenaError) as caught:
        write(name)
    assert caught.value.code == "new.name" and told in caught.value.message


def test_names_that_are_taken():
    for write in (lambda: agent_skeleton("pid", "bidding/tiny-v1", False), lambda: domain_skeleton("bidding")):
        with pytest.raises(ArenaError) as caught:
            write()
        assert caught.value.code == "new.name" and "is known already" in caught.value.message
    with pytest.raises(ArenaError, match="is too long"):
        domain_skeleton("x" * 60)


@pytest.mark.parametrize(
    ("name", "kind"), [("agent", "MyAgent"), ("none", "MyNone"), ("a.b_c-d2", "ABCD2"), ("brief", "MyBrief"), ("two--dashes", "TwoDashes")]
)
def test_classes_have_names_of_their_own(tmp_path, name, kind):
    skeleton = agent_skeleton(name, "bidding/tiny-v1", True)
    assert made(skeleton, tmp_path).__name__ == kind


def test_nothing_is_overwritten_and_nothing_is_written_by_halves(tmp_path):
    skeleton = agent_skeleton("my-agent", "bidding/tiny-v1", False)
    (tmp_path / "test_my_agent.py").write_text("mine")
    with pytest.raises(ArenaError) as caught:
        skeleton.write(tmp_path)
    assert caught.value.code == "new.exists" and "test_my_agent.py is there already" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["test_my_agent.py"] and (tmp_path / "test_my_agent.py").read_text() == "mine"


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArenaError) as caught:
        domain_skeleton("corner-shop").write(tmp_path / "file")
    assert caught.value.code == "new.folder" and "file" in caught.value.message


def test_the_commands_that_come_next_are_those_of_the_folder():
    steps = [command for command, _ in agent_skeleton("my-agent", "bidding/tiny-v1", False).next("mine")]
    assert steps == [
        "arena check mine/my_agent.py:MyAgent",
        "python -m pytest mine/test_my_agent.py",
        "arena run -t bidding/tiny-v1 -a mine/my_agent.py:MyAgent",
        "arena register mine/my_agent.py:MyAgent --name my-agent --task 'bidding/*'",
    ]
