"""How bidding figures look: Okabe-Ito colours with a symbol and a dash each, readable on a light and on a dark page."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "x", "triangle-up", "cross", "star", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GREY = "#808080"  # text and reference lines: contrast 3.9 on white, 4.8 on a dark page
GRID = "rgba(128, 128, 128, 0.25)"
POINTS = 2000  # marks a trace may have; more are thinned evenly


def look(kind: int) -> dict[str, str]:
    """Colour, symbol and dash of the agent number `kind`: no two of the first 120 agree in all three."""
    return {"colour": PALETTE[kind % 6], "symbol": SYMBOLS[kind % 8], "dash": DASHES[kind % 5]}


def panels(titles: tuple[str, ...], rows: int = 1, alt: str = "", **options: object) -> go.Figure:
    """A figure of `rows` rows of panels; `alt` describes it in words (kept in `layout.meta`)."""
    columns = -(-len(titles) // rows)
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=titles if len(titles) > 1 else None, **options)
    figure.update_layout(
        paper_bgcolor="rgba(0, 0, 0, 0)", plot_bgcolor="rgba(0, 0, 0, 0)", font={"color": GREY, "size": 13},
        margin={"l": 60, "r": 20, "t": 60 if len(titles) > 1 else 30, "b": 100}, height=420 if rows == 1 else 640,
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0.0, "x": 0}, meta={"alt": alt}, colorway=PALETTE,
    )  # fmt: skip
    figure.update_annotations(font={"size": 13})
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def thinned(n: int, most: int = POINTS) -> np.ndarray:
    """Indices of at most `most` of n points, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else np.zeros(0, int)


def line(x: object, y: object, name: str, colour: str, dash: str = "solid", **options: object) -> go.Scatter:
    return go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": colour, "dash": dash, "width": 2}, **options)


def marks(x: object, y: object, name: str, colour: str, symbol: str, size: int = 6, **options: object) -> go.Scatter:
    return go.Scatter(x=x, y=y, name=name, mode="markers", marker={"color": colour, "symbol": symbol, "size": size}, **options)
