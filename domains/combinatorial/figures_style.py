"""What a picture of a solution is made of, and how Plotly shows it: layers of lines and marks over two axes, perhaps a heat map below.

Okabe-Ito colours, each with a symbol and a dash of its own; a transparent ground, readable on a light and on a dark page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "pentagon", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GREY = "#808080"  # text, nodes: contrast 3.9 on white, 4.8 on a dark page
GRID = "rgba(128, 128, 128, 0.2)"
HEIGHT = 620  # pixels of a picture
LEGEND = 16  # layers a legend lists; of more, those that have no other name are told by hovering


@dataclass(frozen=True, eq=False)
class Layer:
    """Points x, y [k] under one name: a line through them (NaN breaks it) where `width` is positive, marks on them where `size` is.

    size: diameter in pixels, one or [k]; hollow: rings instead of discs; text: [k] said when a point is hovered; minor: may be left out of a legend
    """

    name: str
    x: Floats
    y: Floats
    colour: str
    width: float = 0.0
    dash: str = "solid"
    size: float | Floats = 0.0
    symbol: str = "circle"
    hollow: bool = False
    text: tuple[str, ...] = ()
    minor: bool = False

    @property
    def marked(self) -> bool:
        return bool(np.any(np.asarray(self.size) > 0))


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture. lines: of its title; axes: what x and y are; equal: one unit is as long on both axes; alt: the picture in words

    heat: [r, c] values below the layers, with the name of the scale; rows are counted from the top then
    """

    lines: tuple[str, ...]
    layers: tuple[Layer, ...]
    axes: tuple[str, str] = ("x", "y")
    equal: bool = True
    alt: str = ""
    heat: Floats | None = None
    scale: str = ""

    @property
    def span(self) -> tuple[float, float]:
        """From where to where the colours go: forbidden arcs of enormous cost would take all of them."""
        assert self.heat is not None
        return float(np.nanmin(self.heat)), float(np.nanquantile(self.heat, 0.98))


def look(kind: int) -> tuple[str, str, str]:
    """Colour, symbol and dash number `kind`: no two of the first 120 agree in all three."""
    return PALETTE[kind % 6], SYMBOLS[kind % 8], DASHES[kind % 5]


def ways(xy: Floats, routes: list[list[int]]) -> tuple[Floats, Floats]:
    """Points along routes of nodes with a break behind each."""
    gap = np.full((1, 2), np.nan)
    parts = [part for route in routes for part in (xy[route], gap)]
    points = np.concatenate(parts) if parts else np.zeros((0, 2))
    return points[:, 0], points[:, 1]


def blank(alt: str, height: int = 420) -> go.Figure:
    """A figure without traces in the common style."""
    figure = go.Figure()
    figure.update_layout(
        paper_bgcolor="rgba(0, 0, 0, 0)", plot_bgcolor="rgba(0, 0, 0, 0)", font={"color": GREY, "size": 12}, height=height, colorway=PALETTE,
        margin={"l": 55, "r": 15, "t": 40, "b": 50}, meta={"alt": alt}, hovermode="closest",
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0.0, "x": 0.0, "itemsizing": "constant", "font": {"size": 11}},
    )  # fmt: skip
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY, "title": {"standoff": 8}}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def plotted(picture: Picture) -> go.Figure:
    """The picture as a Plotly figure."""
    figure = blank(picture.alt, HEIGHT)
    listed = len(picture.layers) <= LEGEND
    figure.update_layout(
        title={"text": "<br>".join(picture.lines), "font": {"size": 13}, "x": 0.0, "xanchor": "left", "pad": {"l": 10},
               "y": 1 - 20 / HEIGHT, "yref": "container", "yanchor": "top"},
        margin={"t": 34 + 18 * len(picture.lines)},
    )  # fmt: skip
    if picture.heat is not None:
        bar = {"title": {"text": picture.scale, "side": "right"}, "thickness": 10, "lenmode": "pixels", "len": 220}
        low, high = picture.span
        figure.add_heatmap(
            z=picture.heat.astype(np.float32), colorscale="Cividis", colorbar=bar, zmin=low, zmax=high, name=picture.scale,
            hovertemplate="from place %{y} to place %{x}: %{z}<extra></extra>",
        )  # fmt: skip
    for layer in picture.layers:
        figure.add_trace(_trace(layer, listed))
    reversed_ = "reversed" if picture.heat is not None else None
    figure.update_xaxes(title=picture.axes[0], constrain="domain" if picture.equal else None)
    figure.update_yaxes(title=picture.axes[1], autorange=reversed_)
    if picture.equal:
        figure.update_yaxes(scaleanchor="x", scaleratio=1, constrain="domain")
    return figure


def _trace(layer: Layer, listed: bool) -> go.Scatter:
    kind: Literal["lines+markers", "lines", "markers"] = "lines+markers" if layer.width and layer.marked else "lines" if layer.width else "markers"
    trace = go.Scatter(x=layer.x, y=layer.y, name=layer.name, mode=kind, showlegend=listed or not layer.minor, connectgaps=False)
    if layer.width:
        trace.line = {"color": layer.colour, "width": layer.width, "dash": layer.dash}
    if layer.marked:
        symbol = f"{layer.symbol}-open" if layer.hollow else layer.symbol
        trace.marker = {"color": layer.colour, "symbol": symbol, "size": layer.size, "opacity": 1, "line": {"width": 1.5 if layer.hollow else 0}}
    if layer.text:
        trace.text, trace.hovertemplate = layer.text, "%{text}<extra></extra>"
    else:
        trace.hoverinfo = "name"
    return trace
