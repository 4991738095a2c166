"""`--json` of every command against its published schema, and what the lists and pages of single things say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from arena import registry, settings
from arena.cli.app import app
from arena.cli.output import plain

TASK = "bidding/tiny-v1"
SCHEMAS = sorted((Path(settings.__file__).parent / "cli" / "schemas").glob("*.json"))
READING = {
    "domains": ("list", "domains"),
    "tasks": ("list", "tasks", "--tier", "tiny"),
    "agents": ("list", "agents"),
    "runs": ("list", "runs"),
    "status": ("status",),
    "run": ("status", 1),
    "agent": ("show", "agent", "pid"),
    "task": ("show", "task", TASK),
    "board": ("leaderboard",),
    "comparison": ("compare", "pid", "dual", "const", "-t", TASK),
    "plan": ("run", "-t", TASK, "-a", "pid", "--dry-run"),
    "power": ("task", "power", TASK),
    "episode": ("replay", 2, "--scenario", 0),
    "data": ("data", "list"),
    "doctor": ("doctor",),
    "card": ("card", "pid"),
    "check": ("check", "pid"),
    "error": ("show", "run", 77),
}
WRITING = {
    "played": ("run", "-t", TASK, "-a", "rand"),
    "verification": ("verify", 1),
    "cancelled": ("cancel", 1),
    "registered": ("register", "pid(kp=0.3)", "--name", "soft"),
    "retired": ("retire", "pid"),
    "queued": ("run", "-t", TASK, "-a", "lin", "--queue"),
    "worked": ("worker", "--once"),
    "db": ("db", "check"),
    "exported": ("export", "--all", "-o", "x.arena.zip"),
}
# in the tests of these commands
ELSEWHERE = {"converted", "crossplay", "imported", "frozen", "training", "files", "bench", "dashboard", "new", "solved"}


@pytest.mark.parametrize("name", [*READING, *WRITING])
def test_documents_follow_their_schema(arena, known, name):
    done = arena(*(READING | WRITING)[name], "--json")
    assert done.err == ""
    assert done.document["schema"] == f"arena.{name}/1"


def test_every_schema_is_valid_strict_and_used():
    for path in SCHEMAS:
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        assert schema["properties"]["schema"]["const"] == f"arena.{path.stem}/1" and schema["additionalProperties"] is False
    assert {path.stem for path in SCHEMAS} == {*READING, *WRITING, *ELSEWHERE}


def test_every_command_has_json():
    found = [info.callback for info in app.registered_commands]
    for group in app.registered_groups:
        found += [info.callback for info in group.typer_instance.registered_commands]
    assert len(found) >= 25
    assert [callback.__qualname__ for callback in found if "as_json" not in callback.__annotations__] == []


@pytest.mark.parametrize(
    "words", [("show", "run", 1), ("show", "task", TASK), ("show", "agent", 1), ("list", "agents", "--stored"), ("task", "show", TASK)]
)
def test_further_documents(arena, known, words):
    assert arena(*words, "--json").document["schema"].startswith("arena.")
    assert arena(*words).code == 0


def test_numbers_that_json_does_not_know_become_null():
    assert plain({"a": float("nan"), "b": [float("inf"), 1.5], 3: True, "d": Path("x")}) == {"a": None, "b": [None, 1.5], "3": True, "d": "x"}


def test_usage_errors_are_documents_too(arena):
    for words in (("run", "--json"), ("nosuch", "--json"), ("leaderboard", "--top", "none", "--json")):
        done = arena(*words)
        assert done.code == 2 and done.err == "" and done.document["code"] == "usage"


# ---- lists ---------------------------------------------------------------------------------------------------------


def test_lists_hold_what_the_registry_holds(arena):
    assert {row["task"] for row in arena("list", "tasks", "--json").document["tasks"]} == set(registry.tasks())
    assert [row["agent"] for row in arena("list", "agents", "--json").document["agents"]] == list(registry.agents())
    playing = {row["agent"] for row in arena("list", "agents", "-t", "bidding/tiny", "--json").document["agents"]}
    assert playing == {name for name, spec in registry.agents().items() if spec.plays(TASK)} and "cpa-cap" not in playing
    (domain,) = [row for row in arena("list", "domains", "--json").document["domains"] if row["name"] == "bidding"]
    assert domain["suite"] == list(registry.domains()["bidding"].suite)


def test_lists_are_readable_at_100_columns(arena, known):
    for words in (("domains",), ("tasks",), ("agents",), ("agents", "--stored"), ("runs",)):
        done = arena("list", *words)
        assert done.code == 0 and 1 < len(done.out.splitlines()) and max(map(len, done.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("tasks", "-d", "biding"), "bidding"),
        (("tasks", "--tier", "huge"), "large"),
        (("agents", "-t", "bidding/tinny"), "bidding/tiny-v1"),
        (("runs", "-a", "duall"), "dual"),
    ],
)
def test_lists_of_unknown_things_suggest_near_names(arena, known, words, near):
    done = arena("list", *words)
    assert done.code == 6 and near in done.err


def test_runs_can_be_chosen_and_paged(arena, known):
    def runs(*words):
        return [row["run"] for row in arena("list", "runs", *words, "--json").document["runs"]]

    assert runs() == [3, 2, 1]
    assert runs("-a", "pid") == [2] and runs("-t", "bidding/*", "-n", 2) == [3, 2] and runs("--before", 3) == [2, 1]
    assert runs("--status", "failed") == [] and arena("list", "runs", "--status", "failed").out == "no runs\n"


def test_a_broken_plugin_is_listed_with_its_reason_and_breaks_nothing(arena, monkeypatch):
    monkeypatch.setitem(registry.broken, "arena.domains: chess", "ModuleNotFoundError: No module named 'chess'")
    done = arena("list", "domains")
    assert done.code == 0 and "bidding" in done.out and "broken plugin: arena.domains: chess: ModuleNotFoundError" in done.err
    found = arena("doctor", "--json")
    assert found.code == 1 and found.document["broken"] == [
        {"plugin": "arena.domains: chess", "reason": "ModuleNotFoundError: No module named 'chess'"}
    ]


# ---- one thing -----------------------------------------------------------------------------------------------------


def test_show_agent_with_and_without_a_store(arena, known):
    found = arena("show", "agent", "pid", "--json").document
    assert found["listed"]["nature"] == "classical" and TASK in found["listed"]["tasks"]
    (version,) = found["versions"]
    assert version["version"] == 1 and [s["task"] for s in version["standings"]] == [TASK]
    assert arena("show", "agent", "pid@1", "--json").document["versions"] == [version]
    assert arena("show", "agent", "lin", "--json").document["versions"] == []
    assert arena("show", "agent", "pid@9").code == 6
    near = arena("show", "agent", "pidd")
    assert near.code == 6 and "did you mean pid" in near.err


def test_show_task_states_what_is_judged(arena):
    text = arena("show", "task", TASK).out
    task = registry.task(TASK)
    assert task.digest in text and "clairvoyant bound" in text and "ref0" in text and "1458, c0 1/8" in text
    assert max(map(len, text.splitlines())) <= 100


def test_status_of_a_run(arena, known):
    found = arena("status", 2, "--json").document
    assert found["status"] == "complete" and found["agents"] == ["pid@1"] and found["failed"] == 0
    assert found["entries"][0]["decisions"] == 1600 and found["entries"][0]["ms_p99"] >= found["entries"][0]["ms_median"] > 0
    assert "arena verify 2" in arena("status", 2).out
    assert "python" in arena("show", "run", 2).out
