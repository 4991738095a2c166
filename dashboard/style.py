"""How the dashboard looks: Okabe-Ito colours, each with a symbol, on transparent ground, readable on a light and on a dark page."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.colors import sample_colorscale, unlabel_rgb

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "x", "triangle-up", "cross", "star", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GREY = "#808080"  # reference lines: contrast 3.9 on white, 4.8 on a dark page
CLEAR = "rgba(0, 0, 0, 0)"
DIVERGING = [[0.0, VERMILLION], [0.5, "#F7F7F7"], [1.0, BLUE]]  # centred: what is between them is neither


class Look(NamedTuple):
    """How one kind of thing is drawn: never by its colour alone."""

    colour: str
    symbol: str
    icon: str  # of a badge
    badge: str  # colour of a badge, as Streamlit names it


NATURES = {
    "classical": Look(BLUE, "circle", ":material/function:", "blue"),
    "learned": Look(VERMILLION, "diamond", ":material/neurology:", "orange"),
    "llm": Look(GREEN, "square", ":material/chat:", "green"),
    "reference": Look(PURPLE, "star", ":material/star:", "violet"),
    "other": Look(ORANGE, "cross", ":material/category:", "gray"),
}
STATUSES = {
    "queued": Look(SKY, "circle-open", ":material/schedule:", "gray"),
    "running": Look(BLUE, "circle", ":material/play_arrow:", "blue"),
    "stalled": Look(ORANGE, "triangle-up", ":material/warning:", "orange"),
    "complete": Look(GREEN, "square", ":material/check:", "green"),
    "done": Look(GREEN, "square", ":material/check:", "green"),
    "failed": Look(VERMILLION, "x", ":material/error:", "red"),
    "cancelled": Look(GREY, "cross", ":material/block:", "gray"),
}


def nature(name: str) -> Look:
    return NATURES.get(name, NATURES["other"])


def status(name: str) -> Look:
    return STATUSES.get(name, STATUSES["queued"])


def look(index: int) -> dict[str, str]:
    """Colour, symbol and dash of agent number `index`: no two of the first 120 agree in all three."""
    return {"colour": PALETTE[index % 6], "symbol": SYMBOLS[index % 8], "dash": DASHES[index % 5]}


def short(name: str, most: int = 34) -> str:
    """A name that fits an axis: cut in its middle."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def axis_label(name: str, most: int = 34) -> str:
    """A name as Plotly shows it: shortened, and without what Plotly would read as markup."""
    return escape(short(name, most), quote=False)  # it knows no entity of a quote


def figure(height: int = 420, **layout: Any) -> go.Figure:
    """An empty figure in the house style, its legend below; traces and titles are added to it. `layout` overrides."""
    axis: dict[str, Any] = {"automargin": True, "zeroline": False}
    house: dict[str, Any] = {
        "template": "none", "height": height, "margin": {"l": 10, "r": 20, "t": 40, "b": 100}, "colorway": PALETTE, "xaxis": axis, "yaxis": axis,
        "legend": {"orientation": "h", "yref": "container", "y": 0.0, "yanchor": "bottom"},
        "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "hoverlabel": {"align": "left"},
    }  # fmt: skip
    return go.Figure(layout=house | {key: house.get(key, {}) | value if isinstance(value, dict) else value for key, value in layout.items()})


def line_at(found: go.Figure, place: float, words: str, axis: str = "x") -> None:
    """A labelled reference line across the figure."""
    style = {"line": {"color": GREY, "dash": "dash", "width": 1.5}}
    if axis == "x":
        found.add_vline(place, **style, annotation={"text": words, "y": 1.0, "yanchor": "bottom", "font": {"color": GREY}})
    else:
        found.add_hline(place, **style, annotation={"text": words, "xanchor": "right", "yanchor": "bottom", "font": {"color": GREY}})


def write(found: go.Figure, words: np.ndarray, low: float, high: float) -> None:
    """Words in the cells of the figure's heat map, black or white, whichever stands out more from the colour below. words: [rows, columns], "" for
    none; low, high: the values at the ends of its colours
    """
    heat = found.data[-1]
    row, column = np.nonzero(words != "")
    share = np.clip((np.asarray(heat.z, float)[row, column] - low) / (high - low), 0, 1)
    colours = sample_colorscale([list(stop) for stop in heat.colorscale], share)
    light = np.array([unlabel_rgb(colour) for colour in colours]).reshape(-1, 3) / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)  # luminance, as WCAG has it
    found.add_trace(
        go.Scatter(
            x=np.asarray(heat.x)[column], y=np.asarray(heat.y)[row], text=words[row, column], mode="text", hoverinfo="skip", showlegend=False,
            textfont={"color": np.where(light > 0.179, "black", "white"), "size": 12},
        )
    )  # fmt: skip
    found.update_xaxes(range=[-0.5, words.shape[1] - 0.5])
    found.update_yaxes(range=[words.shape[0] - 0.5, -0.5])


def score_column(label: str | None = None, help: str | None = None, signed: bool = False) -> Any:
    """A score: 3 decimals; the whole number shows when the cell is opened."""
    return st.column_config.NumberColumn(label, format="%+.3f" if signed else "%.3f", help=help)


def percent_column(label: str | None = None, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(label, format="%.1f", help=help)


def figure_column(label: str | None = None, help: str | None = None) -> Any:
    """Any other measured number: 3 significant digits."""
    return st.column_config.NumberColumn(label, format="%.3g", help=help)


def time_column(label: str) -> Any:
    """A moment of the store, UTC to the minute."""
    return st.column_config.DatetimeColumn(f"{label} (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC")
