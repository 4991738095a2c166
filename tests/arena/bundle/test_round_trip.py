from __future__ import annotations

import dataclasses
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bundle_helpers import board, counts, members, play
from sqlalchemy import update
from toy_domains import aim, entrant, shop, village, walk

from arena import registry
from arena.bundle import export_runs, export_values, import_bundle
from arena.errors import ArenaError
from arena.evaluation import request
from arena.integrity import verify
from arena.store import open_store
from arena.store.recordings import recording_path
from arena.store.schema import agents, standings

BAD = Path(__file__).parents[2] / "agents_bad"


def imported(store, path, task):
    """Import and verify everything; the numbers of the runs."""
    found = [run.run for run in import_bundle(store, path).runs]
    assert all(verify(store, number, task).ok for number in found)
    return found


# ---- there and back --------------------------------------------------------------------------------------------------


def test_a_bundle_imported_twice_and_verified_is_the_same_board(origin, store, tiny):
    """Into both engines."""
    home, bundle = origin
    first = import_bundle(store, bundle)
    assert [run.added for run in first.runs] == [True] * 4 and first.renamed == []
    before = counts(store)
    assert (before["runs"], before["agents"], before["standings"], before["failures"]) == (4, 3, 0, 3)
    assert [run.added for run in import_bundle(store, bundle).runs] == [False] * 4 and counts(store) == before
    for run in first.runs:
        assert not store.run_row(run.run).ranked and verify(store, run.run, tiny).ok and store.run_row(run.run).ranked
    with open_store(None, home, read_only=True) as there:
        assert board(store, tiny.id) == board(there, tiny.id)
    assert all(line["verified"] for line in store.board(tiny.id)) and store.check() == []
    assert [run.added for run in import_bundle(store, bundle).runs] == [False] * 4 and len(store.board(tiny.id)) == 3


def test_what_one_engine_exports_the_other_imports(store, fresh, tiny, tmp_path):
    """Out of both engines."""
    pid = registry.candidate("pid")
    number = play(store, tiny, pid).id
    export_runs(store, [number], tmp_path / "x.arena.zip")
    imported(fresh, tmp_path / "x.arena.zip", tiny)
    assert board(fresh, tiny.id) == board(store, tiny.id)


def test_equal_runs_make_equal_bundles(origin, fresh, tiny, tmp_path):
    home, bundle = origin
    with open_store(None, home, read_only=True) as there:
        made = export_runs(there, [4, 2, 3, 1, 1], tmp_path / "again.arena.zip")
    assert (made.runs, made.agents, made.tasks, made.recordings, made.lines) == (4, 3, 1, 8, 3), "pid plays both seeds alike"
    assert (tmp_path / "again.arena.zip").read_bytes() == bundle.read_bytes()
    export_runs(fresh, imported(fresh, bundle, tiny), tmp_path / "back.arena.zip")
    assert (tmp_path / "back.arena.zip").read_bytes() == bundle.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_any_tool_opens_a_bundle(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
        assert {info.filename for info in archive.infolist()} == set(members(bundle))
    table = pq.read_table(tmp_path / "out" / "measurements.parquet").to_pandas()
    assert list(table.columns) == ["run", "entry", "metric", "scenario", "value"] and len(table) == 4 * 10 * 16
    lines = pq.read_table(tmp_path / "out" / "standings.parquet").to_pandas()
    assert len(lines) == 3 and len(lines["draws"][0]) == 2000


@pytest.mark.parametrize("make", [walk, lambda: village(("worker",), {"planner": "toy-planner"}), shop, aim], ids=["walk", "village", "shop", "aim"])
def test_worlds_of_every_shape(make, tmp_path, fresh, monkeypatch):
    """Early ends and masks, several roles with frozen agents, whole-set scores, float actions."""
    task = make()
    monkeypatch.setattr(registry, "task", {task.id: task}.__getitem__)
    answers = {
        "walk": lambda obs, brief, step: obs["action_mask"].long().argmax(-1) + 2 * (brief.scenario >= 0),
        "aim": lambda obs, brief, step: brief.uniforms(step, 2) * 2 - 1,
    }
    candidate = entrant("luck", answers[task.domain.name]) if task.domain.name in answers else registry.candidate("random")
    with open_store(None, tmp_path / "origin") as there:
        for seed in (0, 1):
            play(there, task, candidate, seed)
        export_runs(there, [1, 2], tmp_path / "x.arena.zip")
        imported(fresh, tmp_path / "x.arena.zip", task)
        assert board(fresh, task.id) == board(there, task.id) and len(board(there, task.id)) == 1


# ---- coming onto the board -------------------------------------------------------------------------------------------


def test_only_a_replay_of_everything_puts_a_run_on_the_board(bundle, fresh, tiny):
    numbers = [run.run for run in import_bundle(fresh, bundle).runs]
    assert verify(fresh, numbers[0], tiny, sample=0.5).ok and fresh.board(tiny.id) == []
    assert verify(fresh, numbers[0], tiny).ok
    assert [(line["agent"], line["runs"], line["verified"]) for line in fresh.board(tiny.id)] == [("pid", 1, True)]
    assert verify(fresh, numbers[1], tiny).ok and fresh.board(tiny.id)[0]["runs"] == 2


def test_a_run_that_is_here_already_counts_once(bundle, fresh, tiny):
    pid = registry.candidate("pid")
    mine = play(fresh, tiny, pid)
    before = fresh.board(tiny.id)
    numbers = [run.run for run in import_bundle(fresh, bundle).runs if run.agent == "pid@1"]
    assert len(numbers) == 2 and all(verify(fresh, number, tiny).ok for number in numbers)
    assert [fresh.run_row(number).ranked for number in numbers] == [False, True], "seed 0 was played here, seed 1 was not"
    assert [(e["code"], e["message"]) for e in fresh.events(numbers[0])][1:] == [
        ("bundle.same_run", f"stays unranked: run {mine.id} is the same request")
    ]
    (line,) = fresh.board(tiny.id)
    assert line["runs"] == 2 and line["headline"] == before[0]["headline"], "pid has no luck of its own"
    assert request(fresh, tiny, pid, seed=1).id == numbers[1], "verified, it stands for the request that anybody here makes"
    assert request(fresh, tiny, pid, seed=0).id == mine.id


def test_an_unverified_run_does_not_stand_in_the_way_of_a_run_of_ones_own(bundle, fresh, tiny):
    numbers = {run.run for run in import_bundle(fresh, bundle).runs}
    assert play(fresh, tiny, registry.candidate("pid")).id not in numbers


def test_a_crash_between_ranking_and_the_board_is_repaired_by_verifying_again(bundle, fresh, tiny, monkeypatch):
    number = import_bundle(fresh, bundle).runs[0].run
    monkeypatch.setattr(type(fresh), "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        verify(fresh, number, tiny)
    assert fresh.run_row(number).ranked and fresh.board(tiny.id) == []
    monkeypatch.undo()
    assert verify(fresh, number, tiny).ok and len(fresh.board(tiny.id)) == 1


def test_what_was_unranked_there_stays_so_here(origin, fresh, tiny, tmp_path):
    from arena.store.schema import runs

    pid = registry.candidate("pid")
    with open_store(None, tmp_path / "origin") as there:
        play(there, tiny, pid)
        there.write(lambda c: c.execute(update(runs).values(ranked=False)))
        made = export_runs(there, [1], tmp_path / "x.arena.zip")
    assert made.lines == 1, "the board of that store still has it"
    (number,) = imported(fresh, tmp_path / "x.arena.zip", tiny)
    assert fresh.run_row(number).verified and not fresh.run_row(number).ranked and fresh.board(tiny.id) == []


# ---- agents ----------------------------------------------------------------------------------------------------------


def test_other_content_under_a_name_that_is_taken_is_another_version(bundle, fresh, tiny):
    fresh.ensure_agent("pid", "classical", "builtin", {"reference": "pid", "parameters": {"kp": 9.0}})
    found = import_bundle(fresh, bundle)
    assert found.renamed == [("pid@1", "pid@2")]
    assert {run.agent for run in found.runs} == {"pid@2", "dual@1", "moody@1"}
    assert import_bundle(fresh, bundle).renamed == [("pid@1", "pid@2")] and len(fresh.agents()) == 4


def test_the_same_content_is_the_same_agent_whatever_its_number(bundle, fresh, tiny):
    fresh.ensure_agent("pid", "classical", "builtin", {"reference": "pid", "parameters": {"kp": 9.0}})
    play(fresh, tiny, registry.candidate("pid"))
    found = import_bundle(fresh, bundle)
    assert {run.agent for run in found.runs} == {"pid@2", "dual@1", "moody@1"} and len(fresh.agents()) == 4


def test_versions_keep_their_numbers_where_these_are_free(origin, fresh, tiny, tmp_path):
    with open_store(None, tmp_path / "origin") as there:
        there.ensure_agent("pid", "classical", "builtin", {"old": 1})
        number = play(there, tiny, registry.candidate("pid")).id
        export_runs(there, [number], tmp_path / "x.arena.zip")
    assert import_bundle(fresh, tmp_path / "x.arena.zip").runs[0].agent == "pid@2"


def test_an_agent_that_was_imported_and_then_registered_here_leaves_as_one(fresh, tiny, tmp_path):
    """Two versions there, for one of them cannot be run; one content for all others, whose runs of one seed count once."""
    pid = registry.candidate("pid")
    for spec in ({"source": "pid"}, {"source": "pid", "registered": True}):
        play(fresh, tiny, dataclasses.replace(pid, name="mine", spec=spec))
    assert [(row["name"], row["version"]) for row in fresh.agents()] == [("mine", 1), ("mine", 2)]
    assert export_runs(fresh, [1, 2], tmp_path / "x.arena.zip").lines == 2
    with open_store(None, tmp_path / "elsewhere") as there:
        found = [run.run for run in import_bundle(there, tmp_path / "x.arena.zip").runs]
        assert len(there.agents()) == 1 and all(verify(there, number, tiny).ok for number in found)
        assert [there.run_row(number).ranked for number in found] == [True, False] and there.board(tiny.id)[0]["runs"] == 1


def test_a_bundle_names_no_folder_of_its_machine(origin, fresh, tiny, tmp_path):
    home, bundle = origin
    content = b"".join(members(bundle).values())
    assert b"moody.py:Moody" in content and b"secret place" not in content and str(home.parent).encode() not in content
    place = tmp_path / "private"
    place.mkdir()
    shutil.copy(BAD / "breaks_down.py", place)
    done = play(fresh, tiny, registry.candidate(f"{place}/breaks_down.py:CrashesInAct"))
    assert str(place) in fresh.failures(done.id)[0]["detail"]
    export_runs(fresh, [done.id], tmp_path / "y.arena.zip")
    content = b"".join(members(tmp_path / "y.arena.zip").values())
    assert b'File \\"breaks_down.py\\", line' in content and b"private" not in content, "also in the traceback of its failures"
    import_bundle(fresh, bundle)
    row = fresh.agent("moody")
    assert row.spec["reference"] == "moody.py:Moody" and row.kind == "file" and row.artifact_digest is not None


def test_importing_executes_nothing_and_what_came_in_cannot_be_run(bundle, fresh, monkeypatch):
    """Not even where the agent was registered in its store: an address or the name of a variable in a bundle is nobody's wish here."""
    monkeypatch.setattr(registry, "candidate", None)
    import_bundle(fresh, bundle)
    assert all("registered" not in row["spec"] for row in fresh.agents())


# ---- recordings ------------------------------------------------------------------------------------------------------


def test_a_lost_or_damaged_recording_comes_back_with_its_bundle(bundle, fresh, tiny):
    (first, *_, last) = (run.run for run in import_bundle(fresh, bundle).runs)
    lost, damaged = (recording_path(fresh.home, fresh.chunks(number)[0]["recording_digest"]) for number in (first, last))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert not verify(fresh, first, tiny).ok and not verify(fresh, last, tiny).ok
    import_bundle(fresh, bundle)
    assert verify(fresh, first, tiny).ok and verify(fresh, last, tiny).ok


# ---- what cannot be exported -----------------------------------------------------------------------------------------


def test_only_what_is_whole_leaves(origin, fresh, tiny, tmp_path):
    out = tmp_path / "x.arena.zip"
    with pytest.raises(ArenaError) as error:
        export_runs(fresh, [], out)
    assert error.value.code == "bundle.empty"
    row = request(fresh, tiny, registry.candidate("pid"))
    with pytest.raises(ArenaError) as error:
        export_runs(fresh, [row.id], out)
    assert error.value.code == "run.unfinished" and "queued" in error.value.message
    done = play(fresh, tiny, registry.candidate("dual"))
    path = recording_path(fresh.home, fresh.chunks(done.id)[0]["recording_digest"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArenaError) as error:
        export_runs(fresh, [done.id], out)
    assert error.value.code == "store.recording_damaged" and list(tmp_path.glob("*.zip")) == [] and list(tmp_path.glob(".*")) == []
    with pytest.raises(ArenaError) as error:
        export_runs(fresh, [99], out)
    assert error.value.code == "unknown.run"


def test_a_measurement_of_a_damaged_length_does_not_leave(fresh, tiny, tmp_path):
    from arena.store.schema import measurements

    done = play(fresh, tiny, registry.candidate("pid"))
    fresh.write(lambda c: c.execute(update(measurements).where(measurements.c.start == 8).values(vals=b"\0" * 61)))
    with pytest.raises(ArenaError) as error:
        export_runs(fresh, [done.id], tmp_path / "x.arena.zip")
    assert error.value.code == "store.damaged"


# ---- every single value ----------------------------------------------------------------------------------------------


def test_every_value_is_a_row(origin, tmp_path, tiny):
    with open_store(None, origin[0], read_only=True) as there:
        task_id = there.task(tiny.id).id
        count = export_values(there, [task_id], tmp_path / "x.parquet")
        table = pq.read_table(tmp_path / "x.parquet").to_pandas()
        assert list(table.columns) == ["task", "agent", "version", "seed", "scenario", "metric", "value"]
        assert len(table) == count == 4 * 10 * 16 and table["value"].isna().sum() == 3 * 9, "failed scenarios have a score and no metric"
        for entry in there.pooled_entries(task_id, [there.agent("pid").id]):
            rows = table[(table["agent"] == "pid") & (table["seed"] == entry["seed"]) & (table["metric"] == "score")]
            stored = there.metric_vectors(entry["entry_id"])["score"]
            assert rows["scenario"].tolist() == list(range(16)) and rows["value"].to_numpy().tobytes() == stored.tobytes()
        for line in there.board(task_id):
            mine = table[(table["agent"] == line["agent"]) & (table["metric"] == "score")]
            assert np.isclose(mine["value"].mean(), line["headline"])


def test_uids_are_what_runs_and_agents_are_known_by(bundle, fresh, tiny):
    """An agent whose uid is here is that agent, under whatever name and number it stands here."""
    import_bundle(fresh, bundle)
    fresh.write(lambda c: c.execute(update(agents).where(agents.c.name == "pid").values(name="pid-of-mine", version=7)))
    found = import_bundle(fresh, bundle)
    assert found.renamed == [("pid@1", "pid-of-mine@7")] and len(fresh.agents()) == 3
    assert fresh.write(lambda c: c.execute(standings.select()).all()) == []
    assert dataclasses.asdict(found)["sha256"] == dataclasses.asdict(import_bundle(fresh, bundle))["sha256"]
