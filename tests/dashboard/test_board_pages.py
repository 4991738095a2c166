"""Overview, Leaderboard, Compare, Agent and Task on the five stores: their numbers are the store's, their addresses hold, names stay text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from dashboard_stores import BUILDERS, ODD_AGENTS, ODD_CARD, ODD_TASK
from sqlalchemy import Engine, event
from streamlit.testing.v1 import AppTest

from arena import registry, scoring
from arena.cli.board import read_board
from arena.cli.comparing import entrants, pooled_scores
from arena.evaluation import execute, request
from arena.store import Store, open_store

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = ("overview", "leaderboard", "compare", "agent", "task")
TINY = "bidding/tiny-v1"
AGENTS = ("const", "resolve", "pid", "pace-net")


def page(name: str, **query: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page(f"app_pages/{name}.py")
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The home folder of one of the five stores, or of `played`; built once, only read."""
    homes: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in homes:
            homes[name] = tmp_path_factory.mktemp(name)
            with open_store(None, homes[name]) as store:
                (BUILDERS | {"played": played})[name](store)
        return homes[name]

    return build


def played(store: Store) -> None:
    task = registry.task(TINY)
    for name in AGENTS:
        candidate = registry.candidate(name)
        execute(store, request(store, task, candidate), task, candidate)


@pytest.fixture
def at(built: Callable[[str], Path], home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Let the pages read one of the stores."""

    def go(name: str) -> Path:
        monkeypatch.setenv("ARENA_HOME", str(built(name)))
        return built(name)

    return go


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is read from the store meanwhile, nothing of it cached from before."""
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


def marked_down(app: AppTest) -> list[str]:
    """All that is read as Markdown, without its code spans."""
    kinds = (app.markdown, app.caption, app.title, app.subheader, app.info, app.error, app.warning)
    texts = [str(element.value) for kind in kinds for element in kind] + [link.proto.label for link in app.get("page_link")]
    return [re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text) for text in texts]


def figures(app: AppTest) -> list[Any]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def frame(app: AppTest, *columns: str) -> Any:
    """The first table with these columns."""
    return next(table.value for table in app.dataframe if set(columns) <= set(table.value.columns))


# ---- all pages on all stores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("store", ["none", "empty"])
def test_an_empty_store_says_what_to_do(at: Callable[[str], Path], name: str, store: str, home: Path) -> None:
    if store == "empty":
        at("empty")
    app = page(name)
    assert "arena run -t bidding/tiny-v1" in app.code[0].value
    assert not app.dataframe and not app.get("plotly_chart")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("store", ["failed", "single", "many", "odd"])
def test_a_page_shows_itself(at: Callable[[str], Path], name: str, store: str) -> None:
    at(store)
    app = page(name)
    assert app.title
    if store in ("many", "odd"):
        assert app.dataframe
    if store == "failed":
        assert not app.get("plotly_chart") or name == "task"


def test_one_failed_run_stands_on_no_board_but_is_told(at: Callable[[str], Path]) -> None:
    at("failed")
    assert "No agent has finished" in page("leaderboard").info[0].value
    overview = page("overview")
    assert "1 failed" in " ".join(caption.value for caption in overview.caption)
    assert list(frame(overview, "status", "agents")["status"]) == ["✗ failed"]
    assert "stands on no board yet" in page("agent").info[0].value


def test_strangers_see_the_boards_and_nothing_of_the_host(at: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    home = at("played")
    assert any("Register" in link.proto.label for link in page("overview").get("page_link"))
    monkeypatch.setenv("ARENA_DASHBOARD_MODE", "public")
    for name in PAGES:
        app = page(name, **({"id": "pace-net"} if name == "agent" else {}))
        assert not any("Register" in link.proto.label for link in app.get("page_link"))
        cells = (str(value) for table in app.dataframe for column in table.value for value in table.value[column])
        assert not any(str(path) in text for path in (home, Path.home()) for text in (*cells, *(element.value for element in app.text)))


def test_one_agent_cannot_be_compared(at: Callable[[str], Path]) -> None:
    at("single")
    assert "needs two" in page("compare").info[0].value
    assert not page("task").metric and frame(page("agent"), "score", "runs")["runs"].iloc[0] == 2


EXPECTED = {"overview": 9, "leaderboard": 18, "compare": 13, "agent": 14, "task": 11}  # two of each: which schema the store has
BOARD = "domain0/task0-v1"


@pytest.mark.parametrize("name", PAGES)
def test_the_statements_of_a_page_do_not_grow_with_the_store(at: Callable[[str], Path], name: str) -> None:
    """One read too many per agent, run or task is 500 too many here."""
    asked: dict[str, dict[str, Any]] = {
        "leaderboard": {"task": BOARD}, "compare": {"task": BOARD, "b": [f"agent-{k:03d}" for k in range(7)]}, "task": {"id": BOARD},
    }  # fmt: skip
    counts = {}
    for store, query in (("odd", {}), ("many", asked.get(name, {}))):
        at(store)
        with statements() as seen:
            page(name, **query)
        counts[store] = len(seen)
    assert counts == {"odd": EXPECTED[name], "many": EXPECTED[name]}


@pytest.mark.parametrize("name", PAGES)
def test_names_stay_text(at: Callable[[str], Path], name: str) -> None:
    at("odd")
    for agent in ODD_AGENTS if name in ("agent", "compare") else ODD_AGENTS[:1]:
        query = {"agent": {"id": agent}, "compare": {"a": agent}}.get(name, {})
        app = page(name, **query)  # type: ignore[arg-type]
        for text in marked_down(app):
            assert not re.search(r"<\w|\]\(|:red\[|:tada:|:smile:|\*star|\*x\*|~~|\$x", text), text
        for text in (words for spec in figures(app) for words in strings(spec)):
            assert "<" not in re.sub(r"<br>|<extra></extra>", "", text), text
        assert not app.get("html")


def test_a_card_is_shown_as_it_is_written(at: Callable[[str], Path]) -> None:
    at("odd")
    app = page("agent", id=ODD_AGENTS[1])
    assert app.selectbox(key="id").value == f"{ODD_AGENTS[1]}@1"
    assert ODD_CARD in [text.value for text in app.text]
    assert page("task").selectbox(key="id").value == ODD_TASK


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("leaderboard", {"task": "dom/none-v1", "domain": "nowhere"}),
        ("leaderboard", {"task": "-1"}),
        ("compare", {"task": "x", "a": "nobody", "b": ["nobody", "999"], "with": "nobody", "only": "perhaps"}),
        ("compare", {"a": "", "b": ""}),
        ("agent", {"id": "nobody@7", "task": "x", "figure": "y"}),
        ("agent", {"id": "9" * 40}),
        ("task", {"id": "'; DROP TABLE tasks"}),
    ],
)  # fmt: skip
def test_an_invalid_address_falls_back_with_a_notice(at: Callable[[str], Path], name: str, query: dict[str, Any]) -> None:
    at("odd")
    app = page(name, **query)
    assert any("the address asks for something that is not here" in info.value for info in app.info)
    usual = page(name)
    for table, other in zip(app.dataframe, usual.dataframe, strict=True):
        assert list(table.value.columns) == list(other.value.columns) and len(table.value) == len(other.value)


# ---- numbers -------------------------------------------------------------------------------------------------------


def test_the_overview_tells_who_leads_and_whether_learning_pays(at: Callable[[str], Path]) -> None:
    home = at("played")
    app = page("overview")
    with open_store(None, home, read_only=True) as store:
        lines = store.board(TINY, with_draws=True)
    best = lines[0]
    assert any(f"`{best['agent']}` {best['headline']:.3f} [{best['lo']:.3f}, {best['hi']:.3f}]" in text.value for text in app.markdown)
    learned = next(line for line in lines if line["nature"] == "learned")
    textbook = next(line for line in lines if line["nature"] == "classical")
    lo, hi = scoring.interval(learned["draws"].astype(float) - textbook["draws"])
    words = "learned ahead of textbook" if lo > 0 else "textbook ahead of learned" if hi < 0 else "learned against textbook: undecided"
    figures = f"{learned['headline'] - textbook['headline']:+.3f} [{lo:+.3f}, {hi:+.3f}]"
    assert any(words in text.value for text in app.markdown) and any(figures in text.value for text in app.caption)
    assert list(frame(app, "status", "agents")["status"]) == ["✓ complete"] * len(AGENTS)


def test_the_board_is_the_stores(at: Callable[[str], Path]) -> None:
    home = at("played")
    app = page("leaderboard", task=TINY)
    with open_store(None, home, read_only=True) as store:
        stored = store.board(TINY)
        board = read_board(store, stored[0]["task_id"])
    shown = frame(app, "rank", "score")
    assert list(shown["agent"]) == [line["agent"] for line in stored]
    expected = [[line[key] for key in ("headline", "lo", "hi", "iqm", "cvar10", "ms", "runs")] for line in stored]
    np.testing.assert_array_equal(shown[["score", "lo", "hi", "IQM", "worst 10 %", "ms", "runs"]], expected)
    ranges = [line["rank_range"] for line in board["lines"]]
    assert list(shown["rank"]) == [str(best) if best == worst else f"{best}-{worst}" for best, worst in ranges]
    assert "few seeds" in shown.set_index("agent").loc["pace-net", "notes"]
    assert "agent_id" not in shown.columns and "viol %" not in shown.columns
    forest = figures(app)[0]
    drawn = {x for trace in forest["data"] for x in values(trace["x"])}
    assert drawn == {line["headline"] for line in stored}
    assert [shape["x0"] for shape in forest["layout"]["shapes"]] == [0, 1]


def values(array: Any) -> list[float]:
    """The numbers of a trace, which Plotly may have packed."""
    if isinstance(array, dict):
        import base64

        return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).tolist()
    return list(array)


def test_the_speed_figure_joins_those_that_nobody_beats_in_both(at: Callable[[str], Path]) -> None:
    home = at("many")
    app = page("leaderboard", task="domain0/task0-v1")
    with open_store(None, home, read_only=True) as store:
        lines = store.board("domain0/task0-v1")
    best = {(a["ms"], a["headline"]) for a in lines if not any(b["ms"] <= a["ms"] and b["headline"] > a["headline"] for b in lines)}
    front = figures(app)[1]["data"][0]
    assert set(zip(values(front["x"]), values(front["y"]), strict=True)) == best


def test_a_board_of_500_agents(at: Callable[[str], Path]) -> None:
    home = at("many")
    app = page("leaderboard", domain="domain3", task="domain3")
    with open_store(None, home, read_only=True) as store:
        stored = store.board("domain3")
        matrix = {(line["agent_id"], line["task"]): line["headline"] for line in store.matrix("domain3")}
    shown = frame(app, "rank", "score")
    assert len(shown) == 500 and list(shown["score"]) == [line["headline"] for line in stored]
    assert any("The first 40 of 500" in caption.value for caption in app.caption)
    assert app.selectbox(key="task").options == ["domain3", *(f"domain3/task{k}-v1" for k in range(4))]
    boards = next(table.value for table in app.dataframe if "domain3/task2-v1" in table.value.columns)
    assert list(boards["domain3/task2-v1"]) == [matrix[line["agent_id"], "domain3/task2-v1"] for line in stored]
    assert len(figures(app)[2]["layout"]["yaxis"]["ticktext"]) == 40


def test_a_comparison_is_that_of_the_scoring_package(at: Callable[[str], Path]) -> None:
    home = at("played")
    app = page("compare", task=TINY, a="pid", b=["pace-net", "const"])
    with open_store(None, home, read_only=True) as store:
        task, rows = store.task(TINY), [store.agent(name) for name in ("pid", "pace-net", "const")]
        scores = pooled_scores(store, task, [row.id for row in rows])
        first, *others = entrants(store, task, rows, scores)
        found = scoring.compare_with_all(first, others, clusters=store.task_vectors(task.id).get("cluster"))
    shown = frame(app, "against", "p (Holm)")
    expected = [[c.difference, c.lo, c.hi, c.p, c.p_holm, c.improvement, c.n] for c in found]
    np.testing.assert_array_equal(shown[["difference", "lo", "hi", "p", "p (Holm)", "P(improve)", "scenarios"]], expected)
    told = [text.value for text in app.markdown]
    for c in found:
        assert any(text.replace("`", "") == c.verdict for text in told), c.verdict
    decisive = frame(app, "scenario", "of all")
    gap = scores[rows[0].id].mean(axis=0) - scores[rows[1].id].mean(axis=0)
    np.testing.assert_allclose(decisive["difference"], gap[np.argsort(-np.abs(gap), kind="stable")])
    assert decisive["of all"].iloc[-1] == pytest.approx(100)
    assert decisive["scenario"].iloc[0] == f"scenario?task=bidding%2Ftiny-v1&i={np.abs(gap).argmax()}"
    parts = frame(app, "group", "part of the difference")
    assert parts["part of the difference"].sum() == pytest.approx(gap.mean())
    chances = next(table.value for table in app.dataframe if list(table.value.columns) == ["agent", "pid", "pace-net", "const"])
    assert chances["pace-net"].iloc[0] == found[0].improvement and chances["pid"].iloc[1] == pytest.approx(1 - found[0].improvement)
    profile = frame(app, "score", "pid")
    np.testing.assert_array_equal(profile["pid"], [(scores[rows[0].id] > tau).mean() for tau in scoring.rank.TAUS])


def test_only_what_differs_between_agents(at: Callable[[str], Path]) -> None:
    at("played")
    whole = frame(page("compare", task=TINY, a="pid", b="pace-net"), "what")
    app = page("compare", task=TINY, a="pid", b="pace-net", only="true")
    part = frame(app, "what")
    assert app.toggle(key="only").value
    assert {"nature", "target"} <= set(part["what"]) and "kind" in set(whole["what"]) and "kind" not in set(part["what"])
    assert (part["pid"] != part["pace-net"]).all() and "machine: python" in set(whole["what"])


def test_agents_are_named_by_number_name_or_version(at: Callable[[str], Path]) -> None:
    home = at("played")
    with open_store(None, home, read_only=True) as store:
        number = {name: store.agent(name).id for name in AGENTS}
    app = page("compare", a=str(number["pid"]), b=[str(number["const"]), "resolve@1"])
    assert app.selectbox(key="a").value == "pid" and app.multiselect(key="b").value == ["const", "resolve"]
    assert list(frame(app, "against")["against"]) == ["const", "resolve"]
    for spelling in (str(number["pace-net"]), "pace-net", "pace-net@1"):
        assert page("agent", id=spelling).selectbox(key="id").value == "pace-net@1"


def test_a_suite_is_compared_on_its_tasks(at: Callable[[str], Path]) -> None:
    home = at("many")
    app = page("compare", task="domain1", a="agent-003", b="agent-100")
    with open_store(None, home, read_only=True) as store:
        lines = {(line["task"], line["agent_id"]): line["headline"] for line in store.matrix("domain1")}
        ids = {name: store.agent(name).id for name in ("agent-003", "agent-100")}
    shown = frame(app, "task", "agent-003")
    assert list(shown["task"]) == [f"domain1/task{k}-v1" for k in range(4)]
    for name, number in ids.items():
        assert list(shown[name]) == [lines[task, number] for task in shown["task"]]
    assert frame(app, "against")["verdict"].iloc[0] == "behind"


def test_an_agent_shows_its_results_groups_and_learning(at: Callable[[str], Path]) -> None:
    home = at("played")
    app = page("agent", id="pace-net", task=TINY)
    with open_store(None, home, read_only=True) as store:
        agent, task = store.agent("pace-net"), store.task(TINY)
        lines, vectors = store.standings(agent.id), store.task_vectors(task.id)
        scores = pooled_scores(store, task, [agent.id])[agent.id]
    shown = frame(app, "task", "score", "IQM")
    assert list(shown["task"]) == [TINY] and list(shown["score"]) == [line["headline"] for line in lines]
    groups = frame(app, "group", "scenarios", "lo")
    for row, group in zip(groups.itertuples(), np.unique(vectors["group"]), strict=True):
        assert row.score == pytest.approx(scores[:, vectors["group"] == group].mean())
        assert row.lo <= row.score <= row.hi and row.scenarios == (vectors["group"] == group).sum()
    learned = frame(app, "seed", "step", "ratio")
    assert set(learned["seed"]) == {"seed-0", "seed-1", "seed-2"}
    assert app.selectbox(key="figure").value == "ratio"
    assert not any("How it learned" in title.value for title in page("agent", id="const").subheader)


def test_a_task_says_what_0_and_1_are_and_how_well_it_separates(at: Callable[[str], Path]) -> None:
    home = at("played")
    app = page("task", id="bidding/tiny")
    with open_store(None, home, read_only=True) as store:
        row, vectors = store.task(TINY), store.task_vectors(store.task(TINY).id)
        lines = store.board(TINY, with_draws=True)
        metrics = store.metrics(row.id)
    task = registry.task(TINY)
    texts = [text.value for text in app.text]
    assert task.about["statement"] in texts and task.about["references"].replace("`", "") in texts
    assert row.digest in [code.value for code in app.code] and any("@misc" in code.value for code in app.code)
    references = frame(app, "reference", "mean").set_index("reference")
    assert references.loc["ref1", "mean"] == vectors["ref1"].mean() and references.loc["ref0", "least"] == vectors["ref0"].min()
    bins = frame(app, "from", "to", "scenarios")
    assert bins["scenarios"].sum() == row.n_scenarios and bins["to"].iloc[-1] == pytest.approx((vectors["ref1"] - vectors["ref0"]).max())
    assert set(frame(app, "metric", "role")["metric"]) == {metric["name"] for metric in metrics}
    separated = sum(
        abs(a["headline"] - b["headline"]) > 1.96 * np.std(a["draws"].astype(float) - b["draws"], ddof=1) + 1e-9
        for i, a in enumerate(lines) for b in lines[:i]
    )  # fmt: skip
    assert app.metric[0].value == f"{100 * separated / 6:.0f} %"
    single, paired = frame(app, "sd", "for ± 0.01"), frame(app, "pair", "to find 0.01")
    assert list(single["for ± 0.01"]) == [scoring.scenarios_for_interval(line["sd"], 0.01) for line in lines]
    assert len(paired) == len(AGENTS) - 1


def test_a_suite_lists_its_tasks(at: Callable[[str], Path]) -> None:
    at("many")
    app = page("task", id="domain2")
    assert list(frame(app, "task", "played")["task"]) == [f"domain2/task{k}-v1" for k in range(4)]
    assert app.metric[0].value.endswith("%")
