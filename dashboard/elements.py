"""What pages are made of: tables and figures with their downloads, names shown as text, links that carry their choice."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.output import literal
from dashboard import style

ROWS = 1000  # a table shows at most so many; Streamlit sends the whole frame to the browser


def name(text: str) -> str:
    """A name within Markdown, as it is written: a code span, in which neither markup, colours nor emoji codes are read."""
    flat = literal(" ".join(text.split())) or " "
    fence = "`" * (max(map(len, re.findall("`+", flat)), default=0) + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def href(page: str, **query: object) -> str:
    """The address of a page with its choice, for a link column; relative, so it works behind any prefix."""
    return f"{page}?{urlencode({key: str(value) for key, value in query.items()})}"


def link(page: str, label: str, icon: str | None = None, **query: object) -> None:
    """A link to another page with its choice (a list: the key repeated). `label` is Markdown: names go through `name`."""
    asked = {key: [str(v) for v in value] if isinstance(value, list) else str(value) for key, value in query.items()}
    st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=asked or None)


def link_column(label: str = "", words: str = "open") -> Any:
    """A column of addresses made by `href`, each shown as the same word."""
    return st.column_config.LinkColumn(label, display_text=words, width="small")


def badge(status: str) -> None:
    """A run's or a job's status: word, colour and symbol."""
    look = style.status(status)
    st.badge(status, icon=look.icon, color=look.badge)  # type: ignore[arg-type]


def table(
    frame: pd.DataFrame,
    file: str,
    key: str,
    columns: Mapping[str, Any] | None = None,
    order: list[str] | None = None,
    height: int = 560,
    **options: Any,
) -> Any:
    """A table with its downloads: CSV and Parquet hold exactly what is shown, and are built when asked for.

    file: name of the downloads without ending; columns: how columns look; order: the columns shown (default: all); returns what
    `st.dataframe` returns (the selection, where `on_select` asks for one).
    """
    shown = (frame if order is None else frame[order]).head(ROWS)
    found = st.dataframe(
        shown, hide_index=True, column_config=dict(columns or {}), height=tall(len(shown), height), key=key, placeholder="", **options
    )
    with st.container(horizontal=True, gap="small"):
        downloads(shown, file, key)
    if len(frame) > ROWS:
        st.caption(f"The first {ROWS:,} of {len(frame):,} rows.")
    return found


def tall(rows: int, most: int) -> int:
    """The height of a table that shows its rows, at most `most` pixels."""
    return min(38 + 35 * max(rows, 1), most)


def downloads(frame: pd.DataFrame, file: str, key: str) -> None:
    """Buttons for CSV and Parquet of a table."""
    file = re.sub(r"[^\w.-]+", "-", file)
    st.download_button(
        "CSV", lambda: csv(frame), f"{file}.csv", "text/csv",
        key=f"{key}-csv", on_click="ignore", type="tertiary", icon=":material/download:",
    )  # fmt: skip
    st.download_button(
        "Parquet", lambda: parquet(frame), f"{file}.parquet", "application/vnd.apache.parquet",
        key=f"{key}-parquet", on_click="ignore", type="tertiary", icon=":material/download:",
    )  # fmt: skip


def csv(frame: pd.DataFrame) -> bytes:
    return bytes(frame.to_csv(index=False).encode())


def parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    return sink.getvalue()


def chart(
    figure: go.Figure, alt: str, file: str, key: str, twin: pd.DataFrame | None = None, columns: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """A figure with its words for those who cannot see it, its numbers as a table, and its download as a page that needs no network.

    twin: the numbers drawn, where no table on the page has them already.
    """
    found = st.plotly_chart(figure, theme="streamlit", alt=alt, key=key, config={"displaylogo": False, "scrollZoom": False}, **options)
    page = re.sub(r"[^\w.-]+", "-", file)

    def html() -> bytes:
        alone = go.Figure(figure).update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white")
        return str(alone.to_html(include_plotlyjs=True)).encode()

    def button() -> None:
        st.download_button(
            "Figure", html, f"{page}.html", "text/html", key=f"{key}-html", on_click="ignore", type="tertiary", icon=":material/download:"
        )

    if twin is None:
        button()
        return found
    twin = twin.head(ROWS)
    with st.expander("Numbers and downloads", icon=":material/table:"):
        st.dataframe(twin, hide_index=True, column_config=dict(columns or {}), height=tall(len(twin), 400), key=f"{key}-twin", placeholder="")
        with st.container(horizontal=True, gap="small"):
            downloads(twin, file, key)
            button()
    return found


# ---- figures that come from a domain ---------------------------------------------------------------------------------


def alt(figure: go.Figure, what: str) -> str:
    """The words of a domain's figure (`layout.meta["alt"]`), as text; `what` where it has none."""
    return unescape(str((figure.layout.meta or {}).get("alt", what)))


def numbers(figure: go.Figure) -> pd.DataFrame:
    """The numbers that a figure shows: a row per mark, bar or cell, with the ends of its interval where it has one. Tables as they are."""
    parts: list[pd.DataFrame] = []
    for trace in figure.data:
        if trace.type == "table":
            head = [plain(str(title)) for title in trace.header["values"]]
            return pd.DataFrame(dict(zip(head, ([plain(str(cell)) for cell in column] for column in trace.cells["values"]), strict=True)))
        what, x, y = plain(trace.name or ""), values(trace.x), values(trace.y)
        if trace.type == "heatmap":
            z = np.asarray(values(trace.z), float)
            x, y = (np.arange(n) if ends is None else ends for ends, n in ((x, z.shape[1]), (y, z.shape[0])))
            row, column = np.nonzero(np.isfinite(z))
            parts.append(pd.DataFrame({"what": what, "x": x[column], "y": y[row], "value": z[row, column]}))
        elif x is not None and y is not None and len(x) == len(y):
            part = pd.DataFrame({"what": what, "x": x, "y": y})
            for axis in {"x", "y"} if trace.type in ("bar", "scatter", "scattergl") else ():
                up, down = (values(trace[f"error_{axis}"][side]) for side in ("array", "arrayminus"))
                if up is not None:
                    middle = part[axis].to_numpy(float)
                    part = part.assign(lo=middle - (up if down is None else down).astype(float), hi=middle + up.astype(float))
            parts.append(part.dropna(subset="x"))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    for axis in {"x", "y"} & set(found):  # Arrow refuses numbers and names in one column
        if not pd.api.types.is_numeric_dtype(found[axis]):
            found[axis] = [plain(str(value)) for value in found[axis]]
    return found


def values(array: Any) -> np.ndarray | None:
    """An array of a figure; one that was stored in between is packed as Plotly sends it to browsers."""
    if isinstance(array, Mapping):
        shape = [int(n) for n in str(array.get("shape", "-1")).split(",")]
        return np.frombuffer(b64decode(array["bdata"]), array["dtype"]).reshape(shape)
    return None if array is None else np.asarray(array)


def plain(text: str) -> str:
    """Text of Plotly without its markup."""
    return unescape(re.sub(r"<[^>]*>", " ", text)).strip()
