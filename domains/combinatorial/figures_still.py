"""The same pictures as files that stand still: SVG, PNG, PDF, drawn by Matplotlib (which PyVRP brings along), on a white ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from domains.combinatorial.figures_style import LEGEND, Layer, Picture

MARKER = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "cross": "P", "x": "X", "pentagon": "p", "star": "*",
}  # fmt: skip
LINE = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (9, 3))}
PIXEL = 0.75  # points
STILL = (".svg", ".png", ".pdf")


def still(pictures: Sequence[Picture], path: Path) -> None:
    """Write pictures side by side to a file; its ending says which kind (STILL). The same pictures give the same file."""
    figure = Figure(figsize=(8 * len(pictures), 1.5 + 7 * max(map(_steepness, pictures))), layout="constrained")
    FigureCanvasAgg(figure)
    for part, picture in zip(figure.subfigures(1, len(pictures), squeeze=False)[0], pictures, strict=True):
        _paint(part, picture)
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with rc_context({"svg.hashsalt": "arena"}):
        figure.savefig(path, dpi=150, metadata=dated)


def _steepness(picture: Picture) -> float:
    """Height over width of what is drawn, within reason, where both have one scale."""
    if not picture.equal or picture.heat is not None:
        return 1.0
    ends = [np.concatenate([getattr(layer, axis) for layer in picture.layers]) for axis in "xy"]
    width, height = (float(np.nanmax(values) - np.nanmin(values)) for values in ends)
    return float(np.clip(height / width, 0.4, 1.2)) if width > 0 else 1.0


def _paint(part: SubFigure, picture: Picture) -> None:
    axes = part.add_subplot()
    axes.set_title("\n".join(picture.lines), loc="left", fontsize=10)
    axes.set_xlabel(picture.axes[0])
    axes.set_ylabel(picture.axes[1])
    if picture.heat is None:
        axes.grid(True, color=(0.5, 0.5, 0.5, 0.2))
    axes.set_axisbelow(True)
    if picture.equal:
        axes.set_aspect("equal", "box")
    if picture.heat is not None:
        low, high = picture.span
        image = axes.imshow(picture.heat, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
        part.colorbar(image, ax=axes, label=picture.scale, shrink=0.8)
    listed = len(picture.layers) <= LEGEND
    for layer in picture.layers:
        _draw(axes, layer, listed)
    if axes.get_legend_handles_labels()[0]:
        part.legend(loc="outside lower left", ncols=3, fontsize=8, frameon=False)


def _draw(axes: Axes, layer: Layer, listed: bool) -> None:
    label = layer.name if (listed or not layer.minor) and len(layer.x) else "_" + layer.name
    if layer.width:
        axes.plot(layer.x, layer.y, color=layer.colour, linewidth=layer.width * PIXEL, linestyle=LINE[layer.dash], label=label)
        label = "_" + layer.name
    if layer.marked:
        area = (np.asarray(layer.size, np.float64) * PIXEL) ** 2
        filled = "none" if layer.hollow else layer.colour
        axes.scatter(
            layer.x, layer.y, s=area, marker=MARKER[layer.symbol], facecolors=filled, edgecolors=layer.colour, linewidths=float(layer.hollow),
            label=label, zorder=3,
        )  # fmt: skip
