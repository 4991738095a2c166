"""`arena register`, `retire` and `worker`: agents that others bring, and who does what waits."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, Device, device, store
from arena.cli.output import AsJson, Quiet, deliver, literal, notice
from arena.errors import EXIT_USAGE, ArenaError

EngineName = Annotated[
    str | None, typer.Option("--engine", help="Where chunks are played: inline, local[N] or ray.  [setting: engine]", show_default=False)
]
Workers = Annotated[int | None, typer.Option("--workers", help="Workers of the engine.  [setting: workers]", min=1, show_default=False)]


def register(
    source: Annotated[
        str, typer.Argument(metavar="AGENT", help="file.py:Class, module:Class, model.onnx, converted folder, URL.", show_default=False)
    ],
    name: Annotated[str | None, typer.Option("--name", help="Its name.  [default: that of class or file]", show_default=False)] = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", "-t", help="Glob of tasks it plays; may be repeated.", show_default=False)] = None,
    extra: Annotated[
        list[Path] | None, typer.Option("--with", help="File or folder that a Python file needs beside it; may be repeated.", show_default=False)
    ] = None,
    nature: Annotated[str | None, typer.Option("--nature", help="classical, learned, llm, reference or other.", show_default=False)] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Markdown file that describes it.", show_default=False)] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", help="Variable its process may see, by name; may be repeated.", show_default=False)
    ] = None,
    token_env: Annotated[str | None, typer.Option("--token-env", help="Variable that holds the server's token.", show_default=False)] = None,
    allow_private: Annotated[bool, typer.Option("--allow-private", help="The server may be on this machine or network.")] = False,
    mode: Annotated[
        str | None, typer.Option("--mode", help="How a network or a server plays: a mode of the task.  [default: the first]", show_default=False)
    ] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Of a server: msgpack or json.")] = "msgpack",
    data: Data = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Register an agent under a name: it is checked on a small task, and its files are kept.

    Changed files are the next version of the name; results of older ones stay. Nothing is stored where the check fails.
    """
    from arena import registration

    settings.override(data=data)
    wanted = registration.draft(
        source, name, tasks or (), extra or (), nature, _card(card), env or (), token_env, allow_private, _encoding(encoding), mode
    )
    with store(read_only=False) as opened, redirect_stdout(sys.stderr):
        try:
            found = registration.register(opened, wanted)
        except ArenaError as error:
            if error.code == "agent.contract" and not as_json:
                checks: Any = error.context["checks"]
                for check in checks:
                    if check["ok"] is not None:
                        notice(f"  {check['rule']:10} {'ok' if check['ok'] else 'BROKEN':7} {check['detail']}")
                left = [check["rule"] for check in checks if check["ok"] is None]
                notice(f"  not judged as long as that is so: {', '.join(left)}" if left else "", not left)
            raise
    tasks = found.row.spec["tasks"]
    document = {
        "agent": found.row.name, "version": found.row.version, "kind": found.row.kind, "nature": found.row.nature, "level": found.level,
        "new": found.new, "task": found.report.task, "tasks": tasks, "digest": found.row.artifact_digest,
        "decisions": found.report.decisions, "legal": found.report.legal, "ms_per_decision": found.report.ms_per_decision,
        "checks": [{"rule": c.rule, "ok": c.ok, "detail": c.detail} for c in found.report.checks],
    }  # fmt: skip

    def text() -> None:
        words = "registered" if found.new else "was registered with this content"
        where = {"process": "process isolation", "remote": "remote", "inline": "no isolation"}[found.level]
        print(literal(f"agent {found.row.reference} {words} ({where})   {found.report.summary}"))
        notice(f"next: arena run -t {_next(tasks[0])} -a {found.row.name}", quiet)

    deliver("arena.registered/1", document, as_json, text)


def _next(pattern: str) -> str:
    """The task to try next: the first of the suite that the pattern matches, else the pattern."""
    import fnmatch

    from arena import registry

    matching = fnmatch.filter(registry.tasks(), pattern)
    suite = [f"{d.name}/{name}" for d in registry.domains().values() for name in d.suite]
    found = next((name for name in suite if name in matching), matching[0] if matching else pattern)
    return f"'{found}'" if any(sign in found for sign in "*?[") else found


def _card(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArenaError("unknown.file", f"{path} cannot be read: {error}", "give a Markdown file in UTF-8") from error


def _encoding(name: str) -> str:
    if name not in ("msgpack", "json"):
        raise typer.BadParameter(f"no encoding is called {name!r}: msgpack or json")
    return name


def retire(
    agents: Annotated[list[str], typer.Argument(metavar="AGENT...", help="Registered name or name@version.", show_default=False)],
    undo: Annotated[bool, typer.Option("--undo", help="Bring them back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take versions of agents out of lists and bare names. Their results stay.

    A bare name means all its versions.
    """
    with store(read_only=False) as opened:
        rows = []
        for reference in agents:
            row = opened.agent(reference)
            same = [r for r in opened.agents(retired=True) if r["name"] == row.name and ("@" not in reference or r["version"] == row.version)]
            for version in same:
                opened.retire_agent(version["id"], not undo)
                rows.append({"agent": version["name"], "version": version["version"], "retired": not undo})

    def text() -> None:
        for row in rows:
            print(literal(f"{row['agent']}@{row['version']} {'retired' if row['retired'] else 'is back'}"))

    deliver("arena.retired/1", {"agents": rows}, as_json, text)


def worker(
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits.")] = False,
    engine: EngineName = None,
    workers: Workers = None,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Do what is queued: registrations, then runs; also runs whose worker died. Several may work on one store.

    Ctrl-C gives back what is under way; every finished chunk is kept.
    """
    from arena.cli.progress import Watcher
    from arena.cli.running import job_title, terminable
    from arena.worker import Worker

    settings.override(data=data)
    quiet = quiet or as_json
    place = device(on)
    seat = chosen_engine(engine, workers)
    try:
        with store(read_only=False) as opened, terminable(), redirect_stdout(sys.stderr), Watcher(quiet) as watcher:

            def begin(run: Any, task: Any, agent: str) -> None:
                watcher.begin(job_title(run, task, agent), agent)

            notice(f"worker on {opened.place}, engine {seat.name}" + ("" if once else "; Ctrl-C ends it"), quiet)
            one = Worker(opened, seat, place, lambda text: notice(text, quiet), begin, watcher.report)
            try:
                done = one.run(once)
            except KeyboardInterrupt:
                done = one.done
                notice("stopped; what was under way waits for the next worker", quiet)
    finally:
        seat.close()
    total = one.total

    def text() -> None:
        print(f"{total['jobs']} jobs and {total['runs']} runs, {total['failed']} failed")

    deliver("arena.worked/1", done, as_json, text)
    return EXIT_USAGE if total["failed"] else 0


def chosen_engine(engine: str | None, workers: int | None) -> Any:
    """The engine of the settings, opened."""
    from arena.engines import open_engine

    settings.override(engine=engine, workers=None if workers is None else str(workers))
    count = settings.setting("workers").value
    if count != "auto" and not (count.isdecimal() and int(count) > 0):
        raise ArenaError("engine.workers", f"workers = {count!r} ({settings.setting('workers').origin})", "a number from 1 on, or auto")
    return open_engine(settings.setting("engine").value, None if count == "auto" else int(count))
