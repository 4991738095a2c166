"""`arena db`: the store itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from arena import settings
from arena.cli.opening import store
from arena.cli.output import AsJson, deliver, literal, size
from arena.errors import EXIT_STORE

app = typer.Typer(help="The store: upgrade, backup, check, gc.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(as_json: AsJson = False) -> None:
    """Bring an older store to the schema of this version; a SQLite file is copied first."""
    from arena.store import upgrade_store

    backup = upgrade_store(settings.store_url(), settings.home())
    with store() as opened:
        place = opened.place
    document = {"action": "upgrade", "place": place, "backup": None if backup is None else str(backup)}
    text = f"{place}: up to date" + ("" if backup is None else f"; the old one is kept as {backup}")
    deliver("arena.db/1", document, as_json, lambda: print(literal(text)))


@app.command("backup")
def backup(
    path: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: backups/ in the home folder.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """A consistent copy of the database while others write. Recordings are files beside it: copy `recordings/` afterwards."""
    target = path or settings.home() / "backups" / f"arena-{datetime.now():%Y%m%d-%H%M%S}.db"
    with store() as opened:
        written, place = opened.backup(target), opened.place
    document = {"action": "backup", "place": place, "backup": str(written)}
    text = f"{written} ({size(written.stat().st_size)}); now copy the folder recordings"
    deliver("arena.db/1", document, as_json, lambda: print(literal(text)))


@app.command("check")
def check(as_json: AsJson = False) -> int:
    """Read the whole database and say everything that is wrong. Exit code 4 where something is."""
    with store() as opened:
        problems, place, counts = opened.check(), opened.place, opened.overview()

    def text() -> None:
        for problem in problems:
            print(literal(problem))
        if not problems:
            print(f"{literal(place)}: sound, {counts['complete']} complete runs of {counts['agents']} agents")

    deliver("arena.db/1", {"action": "check", "place": place, "ok": not problems, "problems": problems}, as_json, text)
    return EXIT_STORE if problems else 0


@app.command("gc")
def gc(
    days: Annotated[float, typer.Option("--days", help="Only what is older: a writer's file exists before its row.", min=0.0)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Remove recordings and agents' files that nothing refers to, and what crashes left behind."""
    from arena.artifacts import collect

    with store() as opened:
        removed, place = [*opened.gc(days * 86_400), *collect(opened, days * 86_400)], opened.place
    document = {"action": "gc", "place": place, "removed": [str(path) for path in removed]}
    deliver("arena.db/1", document, as_json, lambda: print(f"{len(removed)} files removed"))
