"""The commands and the options that all of them share. Modules of commands import what is heavy inside their functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arena.cli import (
    checking,
    comparing,
    contract,
    converting,
    crossplaying,
    dashboard,
    data,
    database,
    doctor,
    listing,
    registering,
    running,
    sharing,
    showing,
    solving,
    tasks,
    training,
)

app = typer.Typer(
    help="Decision-makers of every kind, judged on the same frozen scenarios.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def common(
    home: Annotated[Path | None, typer.Option("--home", help="Folder of store and recordings.  [setting: home]", show_default=False)] = None,
    store: Annotated[str | None, typer.Option("--store", help="Address of the store.  [setting: store]", show_default=False)] = None,
    log: Annotated[str | None, typer.Option("--log", help="debug shows where errors happen.  [setting: log]", show_default=False)] = None,
) -> None:
    """Decision-makers of every kind, judged on the same frozen scenarios."""
    from arena import settings

    settings.override(home=home, store=store, log=log)


app.add_typer(listing.app, name="list")
app.add_typer(showing.app, name="show")
app.command("register")(registering.register)
app.command("retire")(registering.retire)
app.command("convert")(converting.convert)
app.command("run")(running.run)
app.command("resume")(running.resume)
app.command("cancel")(running.cancel)
app.command("status")(showing.status)
app.command("worker")(registering.worker)
app.command("leaderboard")(comparing.leaderboard)
app.command("compare")(comparing.compare)
app.command("crossplay")(crossplaying.crossplay)
app.command("solve")(solving.solve)
app.command("check")(contract.check)
app.add_typer(contract.app, name="new")
app.command("verify")(checking.verify)
app.command("replay")(checking.replay)
app.command("train")(training.train)
app.command("export")(sharing.export)
app.command("import")(sharing.import_)
app.command("card")(sharing.card)
app.command("bench")(data.bench)
app.command("doctor")(doctor.doctor)
app.command("dashboard")(dashboard.dashboard)
app.add_typer(tasks.app, name="task")
app.add_typer(data.app, name="data")
app.add_typer(database.app, name="db")
