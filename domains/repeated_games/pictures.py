"""The figures of the released matches, one HTML page that needs no network: `python -m domains.repeated_games.pictures FOLDER --out DIR`.

FOLDER is a data root, the folder `repeated_games` in it, or a checkout of the repository. DIR/repeated_games.html is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import plotly.graph_objects as go

from arena.cli.checking import write_page
from arena.errors import ArenaError
from domains.repeated_games import figures_recorded as drawn
from domains.repeated_games.figures_style import titled
from domains.repeated_games.recorded import load_games, load_matches
from domains.repeated_games.recorded_people import load_people
from domains.repeated_games.tables import MODELS

ONCE = (("gpt4", "defect-once"), ("gpt35", "defect-once"), ("gpt3", "defect-once"), ("claude", "defect-once"), ("llama2", "defect-once"))
TURNS = (("gpt4", "alternator"), ("gpt4-scot", "alternator"), ("gpt35", "alternator"), ("claude", "alternator"), ("gpt4-scot", "gpt4-scot"))
TITLES = {
    "families": ("Score by family of games, total / 40",),
    "fingerprints": ("What each model does after each kind of round,", "prisoner's dilemma"),
    "strategies": ("Strategies that explain a model's matches,", "prisoner's dilemma"),
    "defect-once": ("Against who defects once, prisoner's dilemma",),
    "alternation": ("Against who alternates, battle of the sexes",),
    "wordings": ("GPT-4 against who defects once, in other words",),
    "people-pd": ("People against GPT-4, prisoner's dilemma",),
    "people-bos": ("People against GPT-4, battle of the sexes",),
}


def pictures(root: Path) -> dict[str, go.Figure]:
    """All figures by name. Raises ArenaError `data.*` where files are absent or wrong."""
    games, played = load_games(root), load_matches(root, "experiments")
    pd, bos, people = load_matches(root, "pd"), load_matches(root, "bos"), load_people(root)
    variants = {framing: load_matches(root, f"pd-{framing}") for framing in ("project", "cooking", "game")}
    found = {
        "families": drawn.families(games, played),
        **{f"games-{model}": drawn.games_table(games, played, model) for model in MODELS},
        "players-pd": drawn.players(pd, "prisoner's dilemma"),
        "players-bos": drawn.players(bos, "battle of the sexes"),
        "fingerprints": drawn.fingerprints(pd),
        "strategies": drawn.strategies(pd),
        "defect-once": drawn.panel(pd, ONCE, "prisoner's dilemma against who defects in the first round only"),
        "alternation": drawn.panel(bos, TURNS, "battle of the sexes against who alternates"),
        "wordings": drawn.wordings(variants),
        "people-pd": drawn.people(people, 0),
        "people-bos": drawn.people(people, 1),
    }
    return {name: figure if figure.layout.title.text else titled(figure, TITLES[name]) for name, figure in found.items()}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m domains.repeated_games.pictures", description="The figures of the released matches.")
    parser.add_argument("folder", type=Path, help="data root, the folder repeated_games in it, or a checkout of the repository")
    parser.add_argument("--out", type=Path, required=True, help="folder for repeated_games.html")
    asked = parser.parse_args(words)
    try:
        write_page("Playing repeated games: the released matches", pictures(asked.folder), asked.out / "repeated_games.html")
    except ArenaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(asked.out / "repeated_games.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
