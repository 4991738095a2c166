"""The shell and what all pages share: no page loads torch, a damaged store is told, names stay text, downloads hold what is shown."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from dashboard_stores import ODD_AGENTS
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from plotly.colors import sample_colorscale, unlabel_rgb
from streamlit.testing.v1 import AppTest

from arena.cli.output import literal
from dashboard import elements, style, training

ROOT = Path(__file__).parents[2]
APP = ROOT / "dashboard" / "app.py"
PAGES = sorted(path.stem for path in (ROOT / "dashboard" / "app_pages").glob("*.py"))
def test_the_pages_are_those_of_the_navigation() -> None:
    listed = re.findall(r'^    "(\w+)": \("', APP.read_text(), re.MULTILINE)
    assert sorted(listed) == PAGES == ["agent", "compare", "leaderboard", "overview", "queue", "ratings", "register", "run", "scenario", "task"]


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_store_is_told_not_raised(home: Path, page: str) -> None:
    home.mkdir()
    (home / "arena.db").write_bytes(b"no database at all" * 100)
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    assert app.error and any("arena.db" in text.value for text in app.text)


@given(st.text(max_size=40))
@example("`tick` *star*")
@example("``")
@example(":red[x] :tada: <b>")
def test_a_name_in_markdown_is_one_code_span(text: str) -> None:
    tokens = MarkdownIt().parseInline(f"before {elements.name(text)} after")[0].children or []
    spans = [token.content for token in tokens if token.type == "code_inline"]
    assert spans == [literal(" ".join(text.split())) or " "]
    assert [token.type for token in tokens] == ["text", "code_inline", "text"]


@given(st.text(max_size=90), st.integers(6, 60))
def test_a_label_of_a_figure_is_short_and_holds_no_tag(text: str, most: int) -> None:
    assert len(style.short(text, most)) <= most
    assert "<" not in style.axis_label(text, most) and ">" not in style.axis_label(text, most)


def test_statuses_and_natures_differ_by_more_than_colour() -> None:
    for looks in (style.NATURES.values(), [look for name, look in style.STATUSES.items() if name != "done"]):
        assert len({look.symbol for look in looks}) == len({look.icon for look in looks}) == len(list(looks))
    assert len({tuple(style.look(k).values()) for k in range(120)}) == 120


def test_words_in_cells_can_be_read() -> None:
    """Contrast of at least 4.5 with the cell, as WCAG asks of small text, over all of both scales."""
    z = np.linspace(-1, 1, 41)[None]
    for scale in (style.DIVERGING, "Cividis"):
        figure = go.Figure(go.Heatmap(z=z, x=np.arange(41), y=[0], colorscale=scale))
        style.write(figure, np.full(z.shape, "x"), -1, 1)
        assert len(figure.data[1].x) == 41
        for colour, share in zip(figure.data[1].textfont.color, np.linspace(0, 1, 41), strict=True):
            (cell,) = sample_colorscale([list(stop) for stop in figure.data[0].colorscale], [share])
            parts = [part / 255 for part in unlabel_rgb(cell)]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            ground = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
            assert (1.05 / (ground + 0.05) if colour == "white" else (ground + 0.05) / 0.05) >= 4.5, (scale, share)


def test_a_download_holds_exactly_the_table() -> None:
    frame = pd.DataFrame({"agent": list(ODD_AGENTS), "score": [0.1 + k / 3 for k in range(len(ODD_AGENTS))], "note": [None, *"abcde"]})
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(elements.parquet(frame))), frame)
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(elements.csv(frame))), frame)


def test_links_keep_any_name_whole() -> None:
    from urllib.parse import parse_qs, urlsplit

    for name in ODD_AGENTS:
        address = urlsplit(elements.href("agent", id=name, task="a/b"))
        assert address.path == "agent" and parse_qs(address.query) == {"id": [name], "task": ["a/b"]}


# ---- training logs -------------------------------------------------------------------------------------------------


def test_shipped_training_logs_are_read() -> None:
    weights = ROOT / "agents" / "bidding" / "weights"
    pace = training.curves(weights / "pace-net")
    assert list(pace.columns[:3]) == ["seed", "part", "step"] and set(pace["seed"]) == {"seed-0", "seed-1", "seed-2"}
    assert "ratio" in pace.columns and "seconds" not in pace.columns and not pace["part"].any()
    assert list(pace[pace["seed"] == "seed-0"]["step"]) == list(range(1, 401))
    parts = training.curves(weights / "rlb-nn")
    assert set(parts["part"]) == {f"campaign {k}" for k in range(6)} and "campaign" not in parts.columns
    assert len(training.thinned(pace)) == 1200 and len(training.thinned(pd.concat([pace.assign(part=k) for k in "ab"]))) == 2400


def test_a_log_with_broken_lines_and_odd_columns(tmp_path: Path) -> None:
    (tmp_path / "seed-0").mkdir()
    lines = ['{"loss": 1.5, "epoch": 0, "<b>": "x"}', "not json", "[1]", '{"loss": 0.5, "epoch": 1, "nested": {"a": 1}}', '{"loss": "nan?"}']
    (tmp_path / "seed-0" / "training.jsonl").write_text("\n".join(lines[:4]))
    found = training.curves(tmp_path)
    assert list(found["loss"]) == [1.5, 0.5] and list(found["step"]) == [0, 1] and list(found.columns) == ["seed", "part", "step", "loss"]
    assert training.curves(tmp_path / "nowhere").empty
