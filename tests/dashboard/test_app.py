"""Every page on an empty store, a store with one failed run, and a played board; names with markup stay text."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from arena import registry
from arena.evaluation import execute, request
from arena.store import ChunkResult, EntryRequest, Failure, MetricRecord, RunRequest, StandingRecord, Store, TaskRecord, open_store

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = ("app_pages/leaderboard.py", "app_pages/runs.py")
MARKUP = "<b>bold</b> [link](javascript:x) :red[x] \N{PARTY POPPER}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # no settings file of the developer's
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARENA_STORE", raising=False)
    return tmp_path / "home"


def page(which: str = PAGES[0], **query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if which != PAGES[0]:
        app.switch_page(which).run()
    assert not app.exception, app.exception
    return app


def filled(store: Store, agents: dict[str, float], fail: bool = False, name: str = "dom/task-v1", finish: bool = True) -> list[int]:
    """A task of 10 scenarios on which each agent has its headline; returns the runs."""
    metrics = [MetricRecord("value", "EUR", 1, "primary"), MetricRecord("score", "", 1, "score")]
    vectors = {"ref0": np.zeros(10), "ref1": np.ones(10)}
    task = store.ensure_task(TaskRecord(name, "dom", "standard", f"digest of {name}", {}, 10, "mean", metrics=metrics, vectors=vectors))
    found = []
    for agent, headline in agents.items():
        who = store.ensure_agent(agent, "classical", "builtin", {"factory": agent})
        wanted = RunRequest(
            task_id=task, request_digest=f"{name} {agent}", lineup_digest="", seed=0, ranked=True, chunk_size=10, n_chunks=1,
            environment_id=store.ensure_environment({"python": "3.11"}), config={}, entries=[EntryRequest("bidder", -1, who.id)],
        )  # fmt: skip
        run = store.request_run(wanted)
        found.append(run.id)
        assert store.acquire(run.id, "worker")
        entry = store.entries(run.id)[0]
        failures = [Failure(entry.id, 3, 7, "agent.crash", f"boom of {agent}")] if fail else []
        measured = {(entry.id, "value"): np.full(10, headline), (entry.id, "score"): np.full(10, headline)}
        store.commit_chunk(run.id, ChunkResult(0, 0, 10, 1, 0.1, None, measured, failures, {}))
        if finish:
            draws = np.full(2000, headline, np.float32) + np.linspace(-0.1, 0.1, 2000, dtype=np.float32)
            line = StandingRecord(headline, headline - 0.1, headline + 0.1, headline, headline, headline, 0.0, int(fail), 0, 1.5, 10, draws)
            store.finish(run.id, lambda pool, line=line: line)
        else:
            store.event(run.id, "error", "internal", "the kernel broke")
            store.release(run.id, "worker", "failed")
    return found


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("made", [False, True], ids=["no store", "empty store"])
def test_an_empty_store_says_what_to_do(home: Path, which: str, made: bool) -> None:
    if made:
        open_store(None, home).close()
    app = page(which)
    assert "arena run -t bidding/tiny-v1" in app.code[0].value
    assert not app.dataframe


def test_a_damaged_store_is_reported_not_raised(home: Path) -> None:
    home.mkdir()
    (home / "arena.db").write_bytes(b"no database at all" * 100)
    app = page()
    assert app.error and "arena.db" in app.text[0].value


def test_one_failed_run_stands_on_no_board_but_is_told(home: Path) -> None:
    with open_store(None, home) as store:
        (run,) = filled(store, {"lin": 0.5}, fail=True, finish=False)
    assert "No agent has finished" in page().info[0].value
    app = page(PAGES[1])
    shown = app.dataframe[0].value
    assert list(shown["run"]) == [run] and list(shown["status"]) == ["failed"]
    assert [metric.value for metric in app.metric] == ["failed", "1 of 1", "1 of 10", "not yet"]
    assert list(app.dataframe[1].value[["scenario", "step", "code", "detail"]].iloc[0]) == [3, 7, "agent.crash", "boom of lin"]
    assert "the kernel broke" in list(app.dataframe[2].value["message"])


def test_the_board_of_a_played_task(home: Path) -> None:
    task = registry.task("bidding/tiny-v1")
    with open_store(None, home) as store:
        for name in ("const", "resolve", "mcpc"):
            candidate = registry.candidate(name)
            execute(store, request(store, task, candidate), task, candidate)
        board = store.board("bidding/tiny-v1")
    app = page()
    assert app.selectbox(key="task").value == "bidding/tiny-v1"
    frame = app.dataframe[0].value
    assert list(frame["agent"]) == [line["agent"] for line in board]
    stored = [[line[key] for key in ("headline", "lo", "hi", "iqm", "cvar10")] for line in board]
    np.testing.assert_array_equal(frame[["score", "lo", "hi", "IQM", "worst 10 %"]], stored)
    assert (frame["ms"] > 0).all() and (frame["fail %"] == 0).all()
    runs = page(PAGES[1])
    assert set(runs.dataframe[0].value["status"]) == {"complete"} and len(runs.dataframe[0].value) == 3
    assert "arena verify" in runs.code[0].value


def test_the_forest_plot_shows_the_table(home: Path) -> None:
    with open_store(None, home) as store:
        filled(store, {MARKUP: 0.25, "pid": 0.75})
    app = page()
    figure = app.get("plotly_chart")[0].proto.spec
    drawn = pd.read_json(io.StringIO(figure), typ="series")["data"][0]
    assert drawn["y"] == ["pid", escape(MARKUP)]  # Plotly reads markup in labels
    assert [shape["x0"] for shape in pd.read_json(io.StringIO(figure), typ="series")["layout"]["shapes"]] == [0, 1]
    assert list(app.dataframe[0].value["agent"]) == ["pid", MARKUP]
    texts = [element.value for kind in (app.markdown, app.caption, app.title) for element in kind]
    assert not any("<b>" in text for text in texts)
    assert MARKUP in page(PAGES[1], run="1").text[0].value


def test_the_address_chooses_task_and_run(home: Path) -> None:
    with open_store(None, home) as store:
        filled(store, {"a": 0.1, "b": 0.2}, name="dom/one-v1")
        filled(store, {"c": 0.3}, name="dom/two-v1")
    assert list(page(task="dom/two-v1").dataframe[0].value["agent"]) == ["c"]
    assert list(page(task="dom/one-v1").dataframe[0].value["agent"]) == ["b", "a"]
    lost = page(task="dom/none-v1")
    assert "no such task" in lost.info[0].value and list(lost.dataframe[0].value["agent"]) == ["b", "a"]
    assert "dom/one-v1" in page(PAGES[1], run="2").text[0].value


def test_five_hundred_agents(home: Path) -> None:
    with open_store(None, home) as store:
        filled(store, {f"agent-{i:03d}": i / 500 for i in range(500)})
    app = page()
    assert len(app.dataframe[0].value) == 500 and app.dataframe[0].value["agent"][0] == "agent-499"
    assert any("The first 60 of 500" in caption.value for caption in app.caption)


def test_the_dashboard_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; sys.argv=['x']; import dashboard.reading, arena.cli.board, arena.cli.listing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=APP.parents[1]).returncode == 0
