"""Figures of the bidding domain (Plotly): `draw` one recorded episode, `draw_task` several agents on a task, `value_heatmap` a value table.

Every figure names units on its axes, tells groups apart by symbol or dash as well as by colour, has a transparent ground that suits a
light and a dark page, and carries a description in words in `layout.meta["alt"]`.
"""

from domains.bidding.figures_episode import draw
from domains.bidding.figures_task import draw_task, value_heatmap

__all__ = ["draw", "draw_task", "value_heatmap"]
