"""The Games page: its numbers are those of `read_payoffs`, its address holds, names stay text, few statements."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from dashboard_stores import DUEL, ODD_AGENTS, ODD_DUEL, duels, single
from sqlalchemy import Engine, event
from streamlit.testing.v1 import AppTest

from arena.cli.payoffs import rate_pool, read_payoffs
from arena.store import Store, open_store

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
TASKS = {"alone": "dom/alone-v1", "open": "dom/open-v1"}
MANY = [f"agent-{k:03d}" for k in range(34)]


def build(store: Store) -> None:
    """Three agents rated, one that met only itself, a task without winners, names that look like markup, and too many agents to draw."""
    rate_pool(store, duels(store, ["weak", "fair", "strong"], DUEL, seeds=2))
    duels(store, ["solo"], TASKS["alone"])
    duels(store, ["left", "right"], TASKS["open"], outcome=None)
    rate_pool(store, duels(store, ODD_AGENTS, ODD_DUEL))
    duels(store, MANY, "dom/many-v1", n=8, outcome=None)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("games")
    with open_store(None, folder) as store:
        build(store)
    return folder


@pytest.fixture
def games(built: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    monkeypatch.setenv("ARENA_HOME", str(built))
    return page


def page(**query: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page("app_pages/ratings.py")
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def frame(app: AppTest, *columns: str) -> Any:
    return next(table.value for table in app.dataframe if set(columns) <= set(table.value.columns))


def figures(app: AppTest) -> list[Any]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def drawn(figure: Any) -> list[float]:
    """All x of a figure, which holds them in binary."""
    return sorted(x for trace in figure["data"] for x in np.frombuffer(base64.b64decode(trace["x"]["bdata"]), trace["x"]["dtype"]).tolist())


def texts(app: AppTest) -> str:
    return "\n".join(str(element.value) for kind in (app.text, app.caption, app.info) for element in kind)


@contextmanager
def statements() -> Iterator[list[str]]:
    st.cache_data.clear()
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("store", ["none", "empty", "boards only", "nothing met"])
def test_where_nobody_met_it_says_what_to_do(home: Path, store: str) -> None:
    if store != "none":
        with open_store(None, home) as opened:
            if store == "boards only":
                single(opened)
            if store == "nothing met":
                duels(opened, [])
    app = page()
    assert ("arena run -t bidding/tiny-v1" if store == "none" else "arena crossplay -t") in app.code[0].value
    assert not app.dataframe and not app.get("plotly_chart")


def test_the_page_shows_what_the_store_holds(games: Callable[..., AppTest], built: Path) -> None:
    app = games(task=DUEL)
    with open_store(None, built, read_only=True) as store:
        found = read_payoffs(store, store.task(DUEL).id)
    agents = frame(app, "agent", "mean")
    assert list(agents["agent"]) == ["strong", "fair", "weak"] == [a["label"] for a in found["agents"]]
    assert list(agents["rating"]) == [a["rating"] for a in found["agents"]] and list(agents["hi"]) == [a["hi"] for a in found["agents"]]
    pairs = frame(app, "row", "column")
    assert list(pairs["score"]) == [p["score"] for p in found["pairs"]] and list(pairs["runs"]) == [2] * 9
    assert list(pairs["run"]) == [f"run?id={p['runs'][-1]}" for p in found["pairs"]]
    heat, means, ratings = figures(app)
    matrix = heat["data"][0]
    assert matrix["type"] == "heatmap" and matrix["zmid"] == 0 and matrix["zmin"] == -matrix["zmax"]
    assert heat["data"][1]["text"][:3] == ["0.00", *(f"{p['score']:z.2f}" for p in found["pairs"][1:3])]
    assert heat["layout"]["yaxis"]["ticktext"] == heat["layout"]["xaxis"]["ticktext"] == ["strong", "fair", "weak"]
    assert drawn(means) == sorted(a["mean"] for a in found["agents"]) and drawn(ratings) == sorted(a["rating"] for a in found["agents"])
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    assert "Agents: 3. Pairs played: 9 of 9." in texts(app)


def test_a_pool_is_chosen_in_the_address(games: Callable[..., AppTest], built: Path) -> None:
    app = games(task=DUEL, a=["weak", "strong@1"])
    assert app.multiselect[0].value == ["weak", "strong"] and len(frame(app, "row", "column")) == 4
    assert f"arena crossplay -t {DUEL} -a 'weak' -a 'strong'" in app.code[0].value and "rating" not in frame(app, "agent", "mean").columns
    assert "2 of the 3 agents" in texts(app)
    app = games(task="dom/nothing-v1", a="nobody")
    assert "asks for something that is not here" in texts(app) and frame(app, "row", "column") is not None


def test_what_cannot_be_said_is_not_said(games: Callable[..., AppTest], built: Path) -> None:
    app = games(task=TASKS["alone"])
    assert len(frame(app, "row", "column")) == 1 and len(figures(app)) == 1 and "One agent alone is not rated." in texts(app)
    app = games(task=TASKS["open"])
    assert "declares no winner of a match" in texts(app) and "rating" not in frame(app, "agent", "mean").columns and len(figures(app)) == 2


def test_matches_since_the_rating_are_told(home: Path) -> None:
    with open_store(None, home) as store:
        task = duels(store)
        rate_pool(store, task)
    assert "since these ratings" not in texts(page())
    with open_store(None, home) as store:
        duels(store)
    app = page()
    assert "Matches were completed since these ratings were made." in texts(app) and app.code[0].value == f"arena crossplay -t {DUEL}"


def test_many_agents(games: Callable[..., AppTest], built: Path) -> None:
    app = games(task="dom/many-v1")
    assert app.multiselect[0].value == MANY
    pairs = app.dataframe[0].value
    (heat,) = figures(app)[0]["data"]
    assert len(pairs) == 1000 and "The first 1,000 of 1,156 rows." in texts(app), "a table shows its first thousand rows"
    assert len(heat["z"]["shape"].split(",")) == 2 and heat["z"]["shape"].replace(" ", "") == "30,30"


def test_names_stay_text(games: Callable[..., AppTest], built: Path) -> None:
    app = games(task=ODD_DUEL)
    assert set(frame(app, "agent", "mean")["agent"]) == set(ODD_AGENTS)
    shown = [str(element.value) for kind in (app.markdown, app.caption, app.title, app.subheader, app.info) for element in kind]
    shown += [link.proto.label for link in app.get("page_link")]
    plain = [re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text) for text in shown]
    assert not [text for text in plain if "<" in text or ":red" in text or "javascript" in text or "*star*" in text]
    labels = json.dumps([(figure["layout"], figure["data"]) for figure in figures(app)])
    assert "<b>" not in labels and "<script" not in labels and "&lt;" in labels


def test_the_statements_do_not_grow_with_agents_or_tasks(games: Callable[..., AppTest], built: Path) -> None:
    counts = []
    for task in (TASKS["open"], DUEL, ODD_DUEL, "dom/many-v1"):
        with statements() as seen:
            games(task=task)
        counts.append(len(seen))
    assert counts == [10, 11, 11, 10], "two of them open the store; with ratings one more"
