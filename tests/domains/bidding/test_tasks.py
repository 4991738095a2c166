"""Tasks on files: what may lie where, which parameters they take, what is told about doubtful data."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from arena import registry, settings
from arena.errors import ArenaError
from arena.task import Task

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "bidding" / "rtbcontrol-1458"


def rows(seed: int, n: int, mean: float = 0.02) -> str:
    rng = np.random.default_rng(seed)
    theta, price = rng.beta(1, 1 / mean - 1, n), rng.integers(0, 301, n)
    return "".join(f"{int(u < t)} {z} {t!r}\n" for u, t, z in zip(rng.random(n), theta.tolist(), price.tolist(), strict=True))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder, of a name of his own, where tasks look for data."""
    place = tmp_path / "my_logs"
    place.mkdir()
    (place / "train.theta.txt").write_text(rows(1, 1000))
    (place / "test.theta.txt").write_text(rows(2, 230))
    return point(place, monkeypatch)


def point(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.override(data=None)
    monkeypatch.setenv("ARENA_DATA", str(place))
    return place


def load(parameters: str) -> Task:
    """As it is now: the files of a test change."""
    registry._task.cache_clear()
    return registry.task(f"bidding/ipinyou-1458-v1({parameters})")


@pytest.mark.parametrize(
    ("parameters", "episodes", "last"),
    [("n=100,c0=1/8", 3, 30), ("n=100,c0=1/8,drop_partial=true", 2, 100), ("n=100,c0=1/8,limit=120", 2, 20), ("n=100,c0=[1/8,1/4]", 6, 30)],
)
def test_episodes_are_cut_as_the_parameters_say(folder: Path, parameters: str, episodes: int, last: int) -> None:
    task = load(parameters)
    assert task.n == episodes and task.domain.histories[0].campaign == "1458", "the campaign is the task's, not the folder's name"  # type: ignore[attr-defined]
    price = task.scenarios.tensors()["price"][-1]
    assert int((price <= 300).sum()) == last and len({int(b) for b in task.scenarios.tensors()["budget"]}) == len(task.groups)


@pytest.mark.parametrize(
    "parameters",
    ["n=0", "n=1.5", "n=x", "c0=x", "c0=1/0", "c0=[]", "c0=[1/8,1/8]", "drop_partial=maybe", "max_price=0", "payment=3", "foo=1", "campaign=1"],
)
def test_parameters_that_no_task_has(folder: Path, parameters: str) -> None:
    with pytest.raises(ArenaError) as error:
        load(parameters)
    assert error.value.code == "task.parameters" and error.value.exit_code == 2


def test_what_is_doubtful_is_told(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("n=100,c0=1/8")
    (folder / "test.theta.txt").write_text(rows(2, 230, 0.5))
    with pytest.warns(UserWarning, match="the values look miscalibrated"):
        load("n=100,c0=1/8")
    (folder / "test.theta.txt").write_text(rows(2, 230))
    with pytest.warns(UserWarning, match="c0 = 4: in 2 episodes the budget pays for every auction"):
        load("n=100,c0=[1/8,4]")


def test_episodes_in_which_everything_is_won_leave_nothing_to_judge(folder: Path) -> None:
    lines = [line.split() for line in rows(2, 230).splitlines()]
    (folder / "test.theta.txt").write_text("".join(f"{click} 1 {theta}\n" for click, _, theta in lines))
    with pytest.warns(UserWarning), pytest.raises(ArenaError, match="nothing is left to judge") as error:
        load("n=100,c0=1/8")
    assert error.value.exit_code == 2


def test_files_of_other_layouts_play_too(folder: Path) -> None:
    lines = [line.split() for line in rows(2, 230).splitlines()]
    wanted = load("n=100,c0=1/8").scenarios.tensors()
    (folder / "test.theta.txt").unlink()
    blocks = ["\n".join([str(k), *("\t".join(line) for line in lines[k : k + 115])]) for k in (0, 115)]
    (folder / "1458.test.txt").write_text("5\t115\n" + "\n".join(blocks) + "\n")
    (folder / "2997.test.txt").write_text("5\t1\n0\n0\t1\t0.5\n")
    with pytest.warns(UserWarning, match="may keep only episodes with a click"):
        assert all((value == wanted[name]).all() for name, value in load("n=100,c0=1/8").scenarios.tensors().items())
    for path in folder.iterdir():
        path.unlink()
    (folder / "train.txt").write_text("".join("\t".join(line.split()) + "\t3\n" for line in rows(1, 1000).splitlines()))
    (folder / "test.txt").write_text("".join("\t".join(line) + "\t3\n" for line in lines))
    assert all((value == wanted[name]).all() for name, value in load("n=100,c0=1/8").scenarios.tensors().items())


def test_a_file_of_no_layout_is_named(folder: Path) -> None:
    (folder / "test.theta.txt").write_text("0,5,0.1\n")
    with pytest.raises(ArenaError, match=r"test.theta.txt:1: '0,5,0.1' is the first line of none of the known layouts"):
        load("n=100")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no files in {DATA}")
@pytest.mark.parametrize("place", ["bidding/rtbcontrol/1458", "1458", "wherever"])
def test_the_real_rows_are_the_same_task_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    for name in ("train.txt", "test.txt"):
        shutil.copy(DATA / name, tmp_path / place / name)
    point(tmp_path if place != "wherever" else tmp_path / place, monkeypatch)
    assert registry.task("bidding/real-1458-v1").digest
