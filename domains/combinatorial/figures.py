"""Figures of combinatorial optimisation (Plotly): `draw` one recorded episode beside the best solution known, `draw_task` several solvers on a task.

Every figure tells groups apart by symbol, dash or filling as well as by colour, has a transparent ground that suits a light and a dark page,
one scale for x and y where they are places, and carries a description in words in `layout.meta["alt"]`.
"""

from domains.combinatorial.figures_episode import draw
from domains.combinatorial.figures_task import draw_task

__all__ = ["draw", "draw_task"]
