"""`arena check` and `arena new`: is an agent ready to enter; skeletons of agents and domains to start from."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arena import settings
from arena.cli.opening import Data
from arena.cli.output import AsJson, Column, deliver, literal, shown_path, table
from arena.errors import EXIT_USAGE

if TYPE_CHECKING:
    from arena.skeletons import Skeleton

app = typer.Typer(help="A working skeleton with a test, to start from.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--dir", help="Folder to write into.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="Its name: a-z 0-9 _ . - from a letter on.", show_default=False)]


def check(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Agent or file.py:Class.", show_default=False)],
    task: Annotated[str | None, typer.Option("--task", "-t", help="The task to try it on.  [default: a tiny one that it plays]")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Does an agent keep the contract? It plays a small part of a task; every rule it breaks is told with step and value.

    Exit code 2 where it breaks one.
    """
    from arena import registry
    from arena.contract import check_agent, tiny_task
    from arena.evaluation import check_plays

    settings.override(data=data)
    candidate = registry.candidate(agent)
    chosen = registry.task(task or tiny_task(candidate.tasks))
    check_plays(candidate, chosen)
    with redirect_stdout(sys.stderr):  # the report alone goes to stdout, whatever the agent prints
        report = check_agent(lambda: candidate.enter(chosen.view), chosen)
    document = {
        "agent": candidate.name, "task": report.task, "ok": report.ok, "decisions": report.decisions, "legal": report.legal,
        "ms_per_decision": report.ms_per_decision,
        "checks": [{"rule": c.rule, "ok": c.ok, "detail": c.detail} for c in report.checks],
    }  # fmt: skip

    def text() -> None:
        words = {True: "ok", False: "BROKEN", None: "-"}
        print(literal(f"agent {candidate.name}   {report.summary}   on {report.task}"))
        table([Column("rule"), Column(""), Column("", fold=True)], [(c.rule, words[c.ok], c.detail) for c in report.checks])

    deliver("arena.check/1", document, as_json, text)
    return 0 if report.ok else EXIT_USAGE


@app.command("agent")
def new_agent(
    name: NewName,
    task: Annotated[str, typer.Option("--task", "-t", help="The task it is written for.")] = "bidding/tiny-v1",
    batched: Annotated[bool, typer.Option("--batched", help="Code that serves all scenarios of a chunk in one call, for speed.")] = False,
    folder: Folder = Path("."),
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """An agent that plays legally, if not well: a file to fill with your own idea, and a test of it."""
    from arena.skeletons import agent_skeleton

    settings.override(data=data)
    _write(agent_skeleton(name, task, batched), folder, as_json)


@app.command("domain")
def new_domain(name: NewName, folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """A domain of your own: an installable package with a small complete world, its exact bound, a baseline agent and tests."""
    from arena.skeletons import domain_skeleton

    _write(domain_skeleton(name), folder, as_json)


def _write(skeleton: Skeleton, folder: Path, as_json: bool) -> None:
    written = skeleton.write(folder)
    steps = skeleton.next(shown_path(folder))
    document = {
        "kind": skeleton.kind, "name": skeleton.name, "folder": str(folder.resolve()),
        "files": [str(path.resolve()) for path in written], "next": [{"command": c, "what": w} for c, w in steps],
    }  # fmt: skip

    def text() -> None:
        for path in written:
            print(f"wrote {literal(shown_path(path))}")
        print("\nnext:")
        table([Column(""), Column("", fold=True)], [(f"  {command}", what) for command, what in steps])

    deliver("arena.new/1", document, as_json, text)
