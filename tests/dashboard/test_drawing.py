"""Figures of domains on the pages Task and Agent: drawn when asked for, their numbers beside them as a table, names as text."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from dashboard_stores import boards
from streamlit.testing.v1 import AppTest

from arena import registry, settings
from arena.evaluation import execute, request
from arena.store import open_store
from dashboard.drawing import plotted
from dashboard.elements import alt, numbers

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
TASK = "repeated_games/tiny-v1"
TOURS = "combinatorial/tsp20-tiny-v1"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("played")
    with open_store(None, home) as store:
        task = registry.task(TASK)
        for name in ("tft", "alld"):
            candidate = registry.candidate(name)
            execute(store, request(store, task, candidate), task, candidate)
        candidate, tours = registry.candidate("nearest-neighbour"), registry.task(TOURS)
        execute(store, request(store, tours, candidate), tours, candidate)
        boards(store, ["lin", "pid"], ["dom/task-v1"], n=20)
    return home


@pytest.fixture
def page(played: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    monkeypatch.setenv("ARENA_HOME", str(played))

    def go(name: str, **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=120)
        app.switch_page(f"app_pages/{name}.py")
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception
        return app

    return go


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


def test_a_task_is_drawn_when_asked_for(page: Callable[..., AppTest]) -> None:
    before, after = page("task", id=TASK), page("task", id=TASK, figures="true")
    names = {element.value for element in after.markdown}
    assert {"**groups**", "**fingerprints**", "**habits**"} <= names and charts(after) == charts(before) + 3
    twin = next(table.value for table in after.dataframe if {"what", "lo", "hi"} <= set(table.value.columns) and "all (20)" in set(table.value["y"]))
    board = {"tft@1", "alld@1"}
    assert set(twin["what"]) == board
    with open_store(None, settings.home(), read_only=True) as store:
        for line in store.board(TASK):
            row = twin[(twin["what"] == f"{line['agent']}@1") & (twin["y"] == "all (20)")].iloc[0]
            assert row["x"] == pytest.approx(line["headline"]) and row["lo"] < row["x"] < row["hi"]


def test_an_agent_is_drawn_with_its_matches(page: Callable[..., AppTest]) -> None:
    app = page("agent", id="alld", task=TASK, figures="true")
    names = {element.value for element in app.markdown}
    assert {"**groups**", "**rounds against defect-once**", "**strategies**"} <= names
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert sum("alld" in str(spec.get("layout", {}).get("meta", "")) for spec in specs) >= 4


def test_a_table_of_a_domain_is_one_of_the_page(page: Callable[..., AppTest]) -> None:
    before, after = page("task", id=TOURS), page("task", id=TOURS, figures="true")
    assert charts(after) == charts(before) + 1 and "**instances**" in {element.value for element in after.markdown}
    (table,) = [found.value for found in after.dataframe if "best known" in found.value.columns]
    assert len(table) == 32 and list(table.columns) == ["instance", "nodes", "best known", "nearest-neighbour@1"]


def test_a_domain_without_figures_offers_none(page: Callable[..., AppTest]) -> None:
    for name, asked in (("task", "dom/task-v1"), ("agent", "lin")):
        assert not [toggle for toggle in page(name, id=asked).toggle if toggle.key == "figures"]


def test_names_that_look_alike_stay_apart() -> None:
    agents = ((1, "a" * 40 + "b" * 40), (2, "a" * 50 + "b" * 40), (3, "<b>c</b>"))
    names = [plotted(name, number, agents) for number, name in agents]
    assert len(set(names)) == 3 and names[2] == "&lt;b&gt;c&lt;/b&gt;"
    assert alt(go.Figure(layout={"meta": {"alt": f"of {names[2]}"}}), "x") == "of <b>c</b>" and alt(go.Figure(), "x") == "x"


def test_a_figures_numbers_are_a_table() -> None:
    figure = go.Figure()
    figure.add_bar(x=np.array([1.0, 2.0]), y=["<b>a</b><br>x", "b"], name="bars", orientation="h", error_x={"array": np.array([0.5, 0.25])})
    figure.add_heatmap(z=np.array([[1.0, np.nan], [3.0, 4.0]]), name="cells")
    for drawn in (figure, pickle.loads(pickle.dumps(figure))):  # as a cache keeps it
        found = numbers(drawn)
        assert found["what"].tolist() == ["bars"] * 2 + ["cells"] * 3
        assert found["lo"].tolist()[:2] == [0.5, 1.75] and found["hi"].tolist()[:2] == [1.5, 2.25]
        assert found["value"].tolist()[2:] == [1, 3, 4] and found["y"].tolist() == ["a  x", "b", "0", "1", "1"]
    table = go.Figure(go.Table(header={"values": ["<b>one</b>", "two"]}, cells={"values": [[1, 2], ["a", "b"]]}))
    assert numbers(table).to_dict("list") == {"one": ["1", "2"], "two": ["a", "b"]}
