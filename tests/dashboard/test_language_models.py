"""What the Leaderboard and Run pages show of a language model that really was asked: its transcript, and that too many answers were invalid."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from arena import settings
from arena.chat import endpoint as endpoints
from arena.chat.transcripts import path_of
from arena.cli import main
from arena.store import open_store
from dashboard.costs import figure, priced
from dashboard.elements import values

spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "arena" / "chat" / "loopback.py")
assert spec is not None and spec.loader is not None
loopback = sys.modules.setdefault("loopback", importlib.util.module_from_spec(spec))
if not hasattr(loopback, "Loopback"):
    spec.loader.exec_module(loopback)

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
TASK = "repeated_games/tiny-v1"
ODD = "<b>J</b> :red[x] [link](javascript:y)"
NONE = "<i>dunno</i> *hm* :tada:"


def reply(handler, body):
    """Markup, and no letter for some questions."""
    handler.send(200, loopback.completion(NONE if len(body["messages"][0]["content"]) % 7 == 0 else ODD))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which a model (run 1) and tft (run 2) have played the tiny games; not to be written to."""
    pytest.importorskip("openai", reason="the extra llm is not installed")
    folder = tmp_path_factory.mktemp("played")
    (folder / "prices.toml").write_text("[toy]\ninput = 10.0\noutput = 20.0\n")
    busy = loopback.refuses(503, "busy", {"Retry-After": "0.01"})
    server = loopback.Loopback(loopback.first(busy, reply))
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("ARENA_", "OPENAI_"))]:
            patch.delenv(variable)
        patch.setenv("ARENA_HOME", str(folder))
        patch.setenv("ARENA_CHAT_PRICES", str(folder / "prices.toml"))
        patch.chdir(folder)
        patch.setattr(endpoints, "FIRST_WAIT", 0.001)
        settings._flags.clear()
        assert main(["run", "-q", "--engine", "inline", "-t", TASK, "-a", f"llm(endpoint={server.url},model=toy)", "-a", "tft"]) == 0
        settings._flags.clear()
    server.stop()
    yield folder


@pytest.fixture
def known(played: Path, home: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(played, home)
    return home


def page(name: str, **query: object) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page(f"app_pages/{name}.py")
    for key, value in query.items():
        app.query_params[key] = str(value)
    app.run()
    assert not app.exception, app.exception
    return app


def frame_with(app: AppTest, *columns: str):
    (found,) = [frame.value for frame in app.dataframe if set(columns) <= set(frame.value.columns)]
    return found


def file_of(home: Path, run: int) -> Path:
    with open_store(None, home, read_only=True) as store:
        return path_of(store.run_row(run).uid, "player")


def test_the_board_marks_the_model_and_not_the_strategy(known: Path) -> None:
    app = page("leaderboard", task=TASK)
    lines = frame_with(app, "rank", "notes").set_index("nature")
    assert lines.loc["llm", "notes"] == "unreliable" and lines.loc["llm", "invalid %"] > 5
    assert lines.loc["classical", "notes"] == "" and lines.loc["classical", "invalid %"] == 0
    assert any(caption.value.startswith("Unreliable: more than 5 %") for caption in app.caption)


def test_the_board_shows_cost_beside_score(known: Path) -> None:
    (known / "prices.toml").unlink()  # money is what the run told, not what it would cost now
    used = frame_with(page("run", id=1), "what", "amount").set_index("what")["amount"]
    paid, tokens = 1000 * used["money"] / 200, (used["input_tokens"] + used["output_tokens"]) / 200
    assert paid > 0
    for query, unit, cost in (({}, "money per 1,000 decisions", paid), ({"cost": "tokens"}, "tokens per decision", tokens)):
        app = page("leaderboard", task=TASK, **query)
        board = frame_with(app, "rank", "notes").set_index("agent")
        twin = frame_with(app, "cost", "best").set_index("agent")
        assert dict(zip(twin["nature"], twin["cost"], strict=True)) == {"classical": 0.0, "llm": pytest.approx(cost)}
        assert twin[["score", "lo", "hi"]].to_dict() == board[["score", "lo", "hi"]].loc[twin.index].to_dict()
        (spec,) = [found for chart in app.get("plotly_chart") if unit in str(found := json.loads(chart.proto.spec))]
        assert spec["layout"]["xaxis"]["ticktext"][0] == "none told"
        model = next(trace for trace in spec["data"] if trace["name"].startswith("llm("))
        place = values(model["x"])[0]
        assert 10**place == pytest.approx(cost) and spec["layout"]["xaxis"]["range"][0] < place < spec["layout"]["xaxis"]["range"][1]
        ahead = board.loc[board["nature"] == "classical", "score"].iloc[0] >= board.loc[board["nature"] == "llm", "score"].iloc[0]
        assert dict(zip(twin["nature"], twin["best"], strict=True)) == {"classical": "✓", "llm": "" if ahead else "✓"}


def test_who_is_best_for_its_cost() -> None:
    """What is told in another unit is left out, not free; a tie in score goes to the cheaper one."""
    board = pd.DataFrame({"agent": list("abcdef"), "agent_id": range(6), "score": [0.9, 0.8, 0.8, 0.5, 0.4, 0.95], "lo": 0.0, "hi": 1.0})
    costs = pd.DataFrame({"money": [9.0, 2.0, 1.0, np.nan], "tokens": [9.0, 2.0, 1.0, 5.0]}, index=[0, 1, 2, 5])
    found = priced(board.assign(nature="llm"), costs, "money").set_index("agent")
    assert found["cost"].to_dict() == {"a": 9, "b": 2, "c": 1, "d": 0, "e": 0} and set(found.index[found["best"]]) == {"a", "c", "d"}
    line = figure(found.reset_index(), "money").data[0]
    assert list(line.y) == [0.5, 0.8, 0.9, 0.9] and list(line.x[1:3]) == [0.0, np.log10(9)] and line.x[0] < line.x[1] < line.x[3]


def test_the_run_has_its_mark_and_its_transcript(known: Path) -> None:
    app = page("run", id=1)
    assert any(":orange-badge[" in text.value and "unreliable" in text.value for text in app.markdown)
    usage = frame_with(app, "what", "amount").set_index("what")["amount"]
    board = frame_with(page("leaderboard", task=TASK), "rank", "notes").set_index("nature")
    assert usage["invalid answers, % of decisions"] == board.loc["llm", "invalid %"] == 100 * usage["invalid"] / 200
    assert any("\nPaid: " in text.value and "in money" in text.value for text in app.text)
    (choice,) = [box for box in app.selectbox if box.label == "Scenario"]
    assert choice.options == [str(index) for index in range(20)]
    calls = frame_with(app, "decision", "ask", "tokens in")
    assert set(calls["decision"]) == set(range(10)) and set(calls["answer"]) <= {ODD, NONE}
    # every scenario: the calls that are shown are those of the file
    query = "SELECT scenario, text, choice, input_tokens FROM calls ORDER BY scenario, step, ask"
    rows = sqlite3.connect(file_of(known, 1)).execute(query).fetchall()
    for scenario in (0, 13):
        (choice,) = [box for box in app.selectbox if box.label == "Scenario"]
        app = choice.set_value(scenario).run()
        calls = frame_with(app, "decision", "ask", "tokens in")
        wanted = [(text, choice or "none", tokens) for index, text, choice, tokens in rows if index == scenario]
        assert list(zip(calls["answer"], calls["choice"], calls["tokens in"], strict=True)) == wanted
        assert (calls["money"] == (10 * calls["tokens in"] + 20 * calls["tokens out"]) / 1e6).all()


def test_a_question_is_shown_in_full_as_text(known: Path) -> None:
    app = page("run", id=1)
    first = frame_with(app, "decision", "ask", "tokens in").iloc[0]
    codes = [code.value for code in app.code]
    assert first["answer"] in codes and any("Reply with the letter only" in code for code in codes)
    read_as_markup = "\n".join(str(element.value) for kind in (app.markdown, app.caption, app.subheader) for element in kind)
    assert not any(piece in read_as_markup for piece in ("<b>", "<i>", "javascript", ":red[", ":tada:"))
    retried = int(sqlite3.connect(file_of(known, 1)).execute("SELECT scenario FROM calls WHERE json_array_length(attempts) > 1").fetchone()[0])
    (choice,) = [box for box in app.selectbox if box.label == "Scenario"]
    app = choice.set_value(retried).run()
    assert frame_with(app, "decision", "ask", "tokens in")["attempts"].max() == 2
    assert any(text.value.startswith("attempt 1: 503 busy") for text in app.text)


def test_where_there_is_no_transcript_nothing_is_shown(known: Path) -> None:
    def shown(run: int) -> bool:
        app = page("run", id=run)
        return any(header.value.startswith("Transcript") for header in app.subheader)

    assert not shown(2) and shown(1)
    file = file_of(known, 1)
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    assert not shown(1) and not file.exists()
    file.write_bytes(b"something else")
    app = page("run", id=1)
    assert any("is no transcript" in text.value for text in app.text)


def test_the_endpoint_is_not_told_to_strangers(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(file_of(known, 1)) as connection:
        connection.execute("UPDATE calls SET error = 'http://10.1.2.3:8000/v1 is away' WHERE scenario = 0")
    assert any("10.1.2.3" in text.value for text in page("run", id=1).text)
    monkeypatch.setenv("ARENA_DASHBOARD_MODE", "public")
    app = page("run", id=1)
    assert not any("10.1.2.3" in text.value for text in app.text) and any(header.value == "Transcript" for header in app.subheader)
