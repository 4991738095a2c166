"""task show and freeze, train, data, bench, db, doctor."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from arena import registry, settings
from arena.store.schema import REVISION

TASK = "bidding/tiny-v1"
REAL = Path(__file__).parents[4] / "shared" / "data" / "bidding"
LEARNER = """
import json
import torch
from arena.agent import Agent

class Learner(Agent):
    nature = "learned"

    def __init__(self, checkpoint: str | None = None):
        self.bid = 1 if checkpoint is None else json.load(open(checkpoint + "/seed-3/config.json"))["bid"]

    def act(self, obs):
        return torch.full((len(obs["live"]),), self.bid)

    def train(self, task, *, seed, budget, folder, log):
        prices = task.sample("train", range(4)).price.double()
        for step in range(budget):
            log({"step": step, "price": float(prices.mean())})
        (folder / "config.json").write_text(json.dumps({"bid": 40 + seed, "task": task.id}))
        if budget == 13:
            raise KeyboardInterrupt
"""


# ---- show ----------------------------------------------------------------------------------------------------------


def test_show_tells_a_rate_that_is_stored_as_two_counts_in_one_line(arena):
    shown = arena("task", "show", "repeated_games/tiny-v1")
    assert [line for line in shown.out.splitlines() if line.startswith("nice")] == [
        "nice           info, count out of nice_of, matches in which the player did not defect before the"
    ]
    names = [metric["name"] for metric in arena("task", "show", "repeated_games/tiny-v1", "--json").document["metrics"]]
    assert {"nice", "nice_of"} <= set(names) and sum(f"\n{name} " in shown.out for name in names) == len(names) - 9


# ---- freeze --------------------------------------------------------------------------------------------------------


@pytest.fixture
def thawed(tmp_path, monkeypatch):
    """The tiny task, to be frozen in a folder of the test's own."""
    vectors = registry.task(TASK).vectors
    task = replace(registry.task(TASK), frozen=tmp_path / "frozen" / "tiny-v1", references=lambda task: dict(vectors))
    monkeypatch.setattr(registry, "task", lambda reference: task)
    return task


def test_freeze_writes_once_and_refuses_other_content(arena, thawed):
    (first,) = arena("task", "freeze", TASK, "--json").document["tasks"]
    path = thawed.frozen.with_suffix(".json")
    assert first["state"] == "new" and json.loads(path.read_text())["digest"] == first["digest"]
    assert arena("task", "freeze", TASK, "--json").document["tasks"][0]["state"] == "unchanged"
    path.write_text(path.read_text().replace(first["digest"], "0" * 64))
    thawed.__dict__.pop("_frozen", None)
    refused = arena("task", "freeze", TASK)
    assert refused.code == 2 and "000000000000" in refused.err and "new version" in refused.err
    assert json.loads(path.read_text())["digest"] == "0" * 64
    (again,) = arena("task", "freeze", TASK, "--force", "--json").document["tasks"]
    assert again["state"] == "overwritten" and again["digest"] == first["digest"] == json.loads(path.read_text())["digest"]


# ---- train ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def learner(tmp_path):
    (tmp_path / "learner.py").write_text(LEARNER)
    return "learner.py:Learner"


def test_train_writes_a_checkpoint_that_run_plays(arena, learner, home):
    done = arena("train", learner, "-t", TASK, "--seed", 3, "--budget", 5, "--json").document
    folder = home / "agents" / "learner" / "seed-3"
    assert Path(done["folder"]) == folder and done["files"] == ["config.json"] and done["lines"] == 5
    assert json.loads((folder / "config.json").read_text()) == {"bid": 43, "task": TASK}
    use = done["use"].split("-a ")[1].strip("'")
    assert arena("run", "-t", TASK, "-a", use).code == 0
    text = arena("train", learner, "-t", TASK, "--seed", 4, "--budget", 2)
    assert "price" in text.err and "play it with: arena run" in text.out


def test_retrained_weights_are_another_version(arena, learner, home):
    folder = home / "agents" / "learner"
    arena("train", learner, "-t", TASK, "--seed", 3, "--budget", 1)
    use = f"{learner}(checkpoint={folder})"
    first = registry.candidate(use).digest
    (folder / "seed-3" / "model.safetensors").write_bytes(b"weights")
    assert registry.candidate(use).digest != first


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pid", "-t", TASK), 2, "pid does not learn"),
        (("learner.py:Learner", "-t", TASK), 2, "say how much it may learn: --budget N"),
        (("learner.py:Learner", "-t", "bidding/tinny", "--budget", "3"), 6, "bidding/tiny-v1"),
        (("learner.py:Learner", "-t", TASK, "--budget", "3", "--out", "learner.py/x"), 4, "name another folder: --out"),
        (("learner.py:Learner", "-t", TASK, "--budget", "13"), 130, "what was learned so far is in"),
    ],
)
def test_training_that_cannot_be_done(arena, learner, words, code, said):
    done = arena("train", *words)
    assert done.code == code and said in done.err and done.out == ""


# ---- data and bench ------------------------------------------------------------------------------------------------


def test_data_list_and_fetch_without_data(arena):
    rows = arena("data", "list", "--json").document["tasks"]
    assert {row["task"] for row in rows} == {name for name, spec in registry.tasks().items() if spec.needs}
    assert not any(row["found"] for row in rows)
    done = arena("data", "fetch", "rtbcontrol")
    assert done.code == 2 and "no rtbcontrol files of campaign 1458" in done.out
    assert "test.txt" in done.out and "ARENA_DATA" in done.out and max(map(len, done.out.splitlines())) <= 100
    assert arena("data", "fetch", "bidding/ipinyou-1458-v1", "--json").document["tasks"][0]["needs"] == "ipinyou"
    assert arena("data", "fetch", TASK).code == 2 and arena("data", "fetch", "rtbcontol").code == 6


def test_data_check_reads_every_file(arena, tmp_path):
    folder = tmp_path / "1458"
    folder.mkdir()
    (folder / "test.theta.txt").write_text("0 50 0.001\n1 60 0.002\n")
    (folder / "train.theta.txt").write_text("0 fifty 0.001\n")
    done = arena("data", "check", folder, "--json")
    found = {Path(row["path"]).name: row for row in done.document["files"]}
    assert done.code == 2 and found["test.theta.txt"]["ok"] and found["test.theta.txt"]["rows"] == 2 and not found["train.theta.txt"]["ok"]
    assert "NO" in arena("data", "check", folder).out
    (folder / "train.theta.txt").unlink()
    assert arena("data", "check", folder).code == 0
    assert arena("data", "check", tmp_path / "nowhere").code == 2
    assert arena("data", "check", folder, "--domain", "biding").code == 6


def test_real_data_are_found_by_flag_and_by_environment(arena, monkeypatch):
    if not (REAL / "rtbcontrol-1458").is_dir():
        pytest.skip(f"no real data in {REAL}")
    done = arena("data", "fetch", "rtbcontrol", "--data", REAL)
    assert done.code == 0 and "its files are there, 300 scenarios" in done.out
    monkeypatch.setenv("ARENA_DATA", str(REAL.parent))
    def found():
        return next(row for row in arena("data", "list", "--json").document["tasks"] if row["needs"] == "rtbcontrol")["found"]

    assert found()
    monkeypatch.delenv("ARENA_DATA")
    assert not found(), "what was loaded from one folder is not in another"


def test_bench_prints_what_the_domain_measures(arena, monkeypatch):
    rows = [
        {"what": "steps", "value": 2.5e7, "unit": "auctions/s", "peer": "gym loop", "ratio": 13.34, "target": 1e7, "ok": True},
        {"what": "tables", "value": 3.0, "unit": "s", "peer": None, "ratio": None, "target": 1.0, "ok": False},
    ]
    monkeypatch.setattr("arena.cli.data.part", lambda domain, name: lambda: rows)
    found = arena("bench", "bidding", "--json").document["figures"]
    assert [row | {"domain": "bidding"} for row in rows] == found
    text = arena("bench", "bidding").out
    assert "25,000,000" in text and "13.3" in text and "NO" in text
    assert arena("bench", "biding").code == 6


def test_a_part_that_cannot_be_imported_is_named(arena, monkeypatch):
    bidding = replace(registry.domains()["bidding"], bench="domains.bidding.nowhere:figures")
    monkeypatch.setattr(registry, "domains", lambda: {"bidding": bidding})
    done = arena("bench", "bidding")
    assert done.code == 2 and "domains.bidding.nowhere:figures (bench of bidding) cannot be imported" in done.err


# ---- db ------------------------------------------------------------------------------------------------------------


def test_backup_check_gc(arena, known, tmp_path):
    copied = Path(arena("db", "backup", tmp_path / "copy.db", "--json").document["backup"])
    with sqlite3.connect(copied) as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE status = 'complete'").fetchone() == (3,)
    connection.close()
    assert arena("db", "backup", copied).code == 4
    assert arena("db", "backup").code == 0 and list((known / "backups").glob("*.db"))
    assert arena("db", "check").code == 0
    orphan = known / "recordings" / "ab" / f"{'ab' * 32}.zst"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left behind")
    assert arena("db", "gc", "--json").document["removed"] == [] and orphan.exists()
    assert arena("db", "gc", "--days", 0, "--json").document["removed"] == [str(orphan)] and not orphan.exists()
    next((known / "recordings").glob("*/*.zst")).unlink()
    broken = arena("db", "check", "--json")
    assert broken.code == 4 and "is missing" in broken.document["problems"][0]


def test_upgrade_of_a_store_that_is_new_enough(arena, known):
    done = arena("db", "upgrade", "--json").document
    assert done["backup"] is None and Path(done["place"]) == known / "arena.db"
    assert "up to date" in arena("db", "upgrade").out


# ---- doctor --------------------------------------------------------------------------------------------------------


def test_doctor_tells_every_setting_and_its_origin(arena, known, tmp_path, monkeypatch):
    (tmp_path / "arena.toml").write_text('log = "info"\n')
    found = arena("--home", known, "doctor", "--json")
    document = found.document
    origins = {row["name"]: row["origin"] for row in document["settings"]}
    assert set(origins) == set(settings.DEFAULTS)
    assert origins["home"] == "flag" and origins["log"] == "arena.toml" and origins["device"] == "default"
    assert found.code == 0 and document["ok"] and document["store"]["revision"] == REVISION and document["store"]["runs"] == 3
    assert document["machine"]["disk_free"] > 0 and document["machine"]["filesystem"] and document["packages"]["torch"]
    assert "nothing is broken" in arena("doctor").out


def test_doctor_without_a_store_is_content(arena):
    done = arena("doctor")
    assert done.code == 0 and "there is no store" in done.out


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ARENA_STORE", "postgresql://me:hunter2@127.0.0.1:1/arena", "does not answer"),
        ("ARENA_STORE", "nonsense:hunter2", "address of the store cannot be read"),
        ("ARENA_DEVICE", "cuda", "sees no GPU"),
    ],
)
def test_doctor_finds_what_is_broken_and_keeps_secrets(arena, monkeypatch, variable, value, said):
    import torch

    if variable == "ARENA_DEVICE" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv(variable, value)
    done = arena("doctor")
    assert done.code == 1 and said in done.out and "broken: " in done.out
    found = arena("doctor", "--json")
    assert found.code == 1 and found.document["problems"] and "hunter2" not in done.out + done.err + found.out + found.err


def test_doctor_survives_an_unreadable_settings_file(arena, tmp_path):
    (tmp_path / "arena.toml").write_text("home = [")
    done = arena("doctor")
    assert done.code == 1 and "arena.toml cannot be read" in done.out
    other = arena("leaderboard")
    assert other.code == 2 and "arena.toml cannot be read" in other.err
