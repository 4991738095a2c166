"""Commands in this process (fast) or in one of their own (streams, signals, exit codes), always on a store of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from arena import settings
from arena.cli import main

TASK = "bidding/tiny-v1"
SCHEMAS = Path(settings.__file__).parent / "cli" / "schemas"
START = "import sys; from arena.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self):
        """The JSON document on stdout, checked against its published schema."""
        found = json.loads(self.out)
        name = found["schema"].removeprefix("arena.").removesuffix("/1")
        validator(name).validate(found)
        return found


def validator(name):
    every = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    registry = Registry().with_resources([(schema["$id"], Resource.from_contents(schema)) for schema in every])
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()), registry=registry)


def environment(home, **more):
    """The variables of a command: none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARENA_", "NO_COLOR", "COLUMNS"))}
    return kept | {"ARENA_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def arena(home, tmp_path, monkeypatch, capsys):
    """A command run in this process: `arena("list", "tasks")` -> Result."""
    for name in [name for name in os.environ if name.startswith(("ARENA_", "NO_COLOR", "COLUMNS"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARENA_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "USER_FILE", tmp_path / "nothing.toml")
    monkeypatch.setattr(settings, "_flags", {})

    def command(*arguments):
        settings._flags.clear()
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return command


@pytest.fixture
def process(home, tmp_path):
    """A command in a process of its own; `wait=False` gives the process."""

    def command(*arguments, wait=True, preexec_fn=None, **variables):
        words = [sys.executable, "-c", START, *map(str, arguments)]
        made = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(home, **variables), preexec_fn=preexec_fn
        )
        if not wait:
            return made
        out, err = made.communicate(timeout=120)
        return Result(made.returncode, out, err)

    return command


@pytest.fixture(scope="session")
def played(tmp_path_factory):
    """A home in which const, pid and dual have played the tiny task (runs 1 to 3); not to be written to."""
    folder = tmp_path_factory.mktemp("played")
    before, cwd = dict(os.environ), os.getcwd()
    try:
        os.environ["ARENA_HOME"] = str(folder)
        os.chdir(folder)
        settings._flags.clear()
        assert main(["run", "-q", "-t", TASK, "-a", "const", "-a", "pid", "-a", "dual"]) == 0
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(before)
    return folder


@pytest.fixture
def known(played, home):
    """The test's own copy of the home that has been played in."""
    shutil.copytree(played, home)
    return home
