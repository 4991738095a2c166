"""Figures of repeated games (Plotly): `draw` one recorded match, `draw_task` agents on a task by their metrics, `draw_agent` one agent's matches.

Every figure tells groups apart by symbol, dash or hatching as well as by colour, has a transparent ground that suits a light and a dark page,
and carries a description in words in `layout.meta["alt"]`. Those of the released matches: `python -m domains.repeated_games.pictures`.
"""

from domains.repeated_games.figures_agent import draw_agent
from domains.repeated_games.figures_episode import draw
from domains.repeated_games.figures_task import draw_task

__all__ = ["draw", "draw_agent", "draw_task"]
