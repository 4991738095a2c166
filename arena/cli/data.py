"""`arena data` and `arena bench`: the real data tasks want, and a domain's own speed figures."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, part
from arena.cli.output import WIDTH, AsCsv, AsJson, Column, Quiet, console, deliver, figure, literal, shown_path, table
from arena.errors import EXIT_USAGE, ArenaError, unknown

app = typer.Typer(help="Real data: what tasks want and whether it is there.", no_args_is_help=True)
Json = dict[str, Any]
STRANGE = ("unknown", "other")  # kinds of files a domain does not know
NAMED = 3  # files that are named of those of which the same is said


def wanted(chosen: Callable[[str, Any], bool] = lambda name, spec: True) -> list[Json]:
    """The tasks that need real data, and whether it is there: found by loading them."""
    from arena import registry

    rows = []
    for name, spec in registry.tasks().items():
        if not spec.needs or not chosen(name, spec):
            continue
        row = {"task": name, "domain": name.split("/")[0], "needs": spec.needs, "found": True, "scenarios": None, "message": "", "expected": ""}
        try:
            row["scenarios"] = registry.task(name).n
        except ArenaError as error:
            row |= {"found": False, "message": error.message, "expected": error.hint}
        rows.append(row)
    return rows


@app.command("list")
def list_data(data: Data = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Tasks on real data, and whether their files are there."""
    settings.override(data=data)
    rows, root = wanted(), settings.data_root()

    def text() -> None:
        print(f"data folder: {literal(str(root)) if root else 'none given (--data FOLDER, ARENA_DATA)'}")
        columns = [Column("task"), Column("needs"), Column("there"), Column("", fold=True)]
        table(
            columns,
            [(r["task"], r["needs"], "yes" if r["found"] else "no", f"{r['scenarios']:,} scenarios" if r["found"] else r["message"]) for r in rows],
        )

    deliver("arena.data/1", {"root": root, "tasks": rows}, as_json, text, as_csv, rows)


@app.command("fetch")
def fetch(
    what: Annotated[str, typer.Argument(metavar="TASK|DATA", help="A task, or the data it needs.", show_default=False)],
    data: Data = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="A mirror of the origin.  [setting: origin]", show_default=False)] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Download the files a task wants where they are public; else say exactly which they are and how to point to them."""
    from arena import registry

    settings.override(data=data, origin=base_url)

    def chosen(name: str, spec: Any) -> bool:
        return what in (name, spec.needs, name.split("/")[0]) or name.startswith(f"{what}-v")

    rows = wanted(chosen)
    if not rows:
        known = registry.tasks()
        if what in known:
            raise ArenaError("data.none", f"{what} needs no data: its scenarios are drawn", f"arena run -t {what} -a AGENT")
        raise unknown("data", what, {spec.needs for spec in known.values() if spec.needs} | {name for name, spec in known.items() if spec.needs})
    files = [file for domain, needs in dict.fromkeys((row["domain"], row["needs"]) for row in rows) for file in _downloaded(domain, needs, quiet)]
    rows = wanted(chosen) if files else rows
    wrong = [file for file in files if file["state"] not in ("fetched", "kept")]

    def text() -> None:
        for folder in dict.fromkeys(str(Path(file["path"]).parent) for file in files):
            states = Counter(file["state"] for file in files if str(Path(file["path"]).parent) == folder)
            print(literal(f"{shown_path(folder)}: {', '.join(f'{count} {state}' for state, count in states.items())}"))
        for file in wrong:
            print(literal(f"{file['state']}: {file['message']}"))
        missing = [row for row in rows if not row["found"]]
        for row in missing:
            print(literal(f"{row['task']}: {row['message']}"))
        for needs in dict.fromkeys(row["needs"] for row in missing):
            first = next(row for row in missing if row["needs"] == needs)
            print(fill(literal(f"{needs}, for {first['task']}: {first['expected']}"), WIDTH, subsequent_indent="  "))
        for row in rows:
            if row["found"]:
                print(f"{row['task']}: its files are there, {row['scenarios']:,} scenarios")

    deliver("arena.data/1", {"root": settings.data_root(), "tasks": rows, "files": files}, as_json, text)
    return 0 if all(row["found"] for row in rows) and not wrong else EXIT_USAGE


def _downloaded(domain: str, needs: str, quiet: bool) -> list[Json]:
    """What a domain downloaded, with progress on stderr; nothing where it cannot."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from arena import registry

    spec = registry.domains()[domain]
    if not spec.fetch:
        return []
    bring, root, origin = part(spec, "fetch"), settings.fetch_root(), settings.setting("origin").value
    columns = TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn()
    with Progress(*columns, console=console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
        line = bar.add_task(needs, total=None)
        found = bring(needs, root, origin, lambda done, total: bar.update(line, completed=done, total=total))
    return [{"path": str(file.path), "state": file.state, "message": file.message} for file in found]


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    domain: Annotated[str | None, typer.Option("--domain", "-d", help="Whose files they are.", show_default=False)] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> int:
    """Read your files to their end and say what they are and what is wrong with them. Exit code 2 where something is."""
    from arena import registry

    able = {name: spec for name, spec in registry.domains().items() if spec.check}
    if domain is not None and domain not in able:
        raise unknown("domain", domain, able, "these read files of yours")
    if not folder.is_dir():
        raise ArenaError("data.missing", f"{folder} is not a folder", "give the folder that holds the files, or one above it")
    reports = {name: part(spec, "check")(folder) for name, spec in able.items() if domain in (None, name)}
    if not any(reports.values()):
        raise ArenaError("data.missing", f"{folder} holds no files", "give the folder that holds them, or one above it")
    theirs = [name for name, found in reports.items() if any(report.kind not in STRANGE for report in found)]
    if domain is None and len(theirs) != 1:
        said = f"{' and '.join(theirs)} both know files in {folder}" if theirs else f"no domain knows the files in {folder}"
        raise ArenaError("data.domain", said, f"say whose they are: --domain {' or '.join(theirs or able)}")
    name = domain or theirs[0]
    rows = [{"path": str(r.path), "kind": r.kind, "ok": r.ok, "rows": r.rows, "message": r.message} for r in reports[name]]

    def text() -> None:
        alike: dict[tuple[str, bool, str], list[Json]] = {}
        for row in rows:
            alike.setdefault((row["kind"], row["ok"], row["message"]), []).append(row)
        print(f"{literal(shown_path(folder))}: {len(rows):,} {'file' if len(rows) == 1 else 'files'}")
        columns = [Column("file", fold=True), Column("files", True), Column("kind"), Column("ok"), Column("rows", True), Column("", fold=True)]
        table(
            columns,
            [
                (_names(folder, same), f"{len(same):,}", kind, "yes" if ok else "NO", f"{sum(row['rows'] for row in same):,}", message)
                for (kind, ok, message), same in alike.items()
            ],
        )

    ok = all(row["ok"] for row in rows)
    deliver("arena.files/1", {"domain": name, "folder": str(folder), "ok": ok, "files": rows}, as_json, text, as_csv, rows)
    return 0 if ok else EXIT_USAGE


def _names(folder: Path, rows: list[Json]) -> str:
    """The first files of those that are alike, from the folder; what lies beside the one before by its name alone."""
    paths = [Path(os.path.relpath(row["path"], folder)) for row in rows[:NAMED]]
    names = [str(path) if not i or path.parent != paths[i - 1].parent else path.name for i, path in enumerate(paths)]
    return ", ".join(names) + (f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else "")


def bench(
    domain: Annotated[str | None, typer.Argument(metavar="[DOMAIN]", help="One domain; none: all that have figures.", show_default=False)] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """A domain's speed on this machine, beside its peers."""
    from arena import registry

    known = registry.domains()
    if domain is not None and domain not in known:
        raise unknown("domain", domain, known)
    specs = [known[domain]] if domain else [spec for spec in known.values() if spec.bench]
    keys = ("what", "value", "unit", "peer", "ratio", "target", "ok")
    rows: list[Json] = []
    for spec in specs:
        rows += [{"domain": spec.name, **{key: row.get(key) for key in keys}} for row in part(spec, "bench")()]

    def text() -> None:
        columns = [Column("domain"), Column("what", fold=True), Column("value", True), Column("unit"), Column("peer"), Column("ratio", True)]
        lines = [
            [
                r["domain"],
                str(r["what"]),
                _number(r["value"]),
                str(r["unit"] or ""),
                _number(r["peer"]),
                _number(r["ratio"]),
                _number(r["target"]),
                _met(r["ok"]),
            ]
            for r in rows
        ]
        table([*columns, Column("target", True), Column("met")], lines)

    deliver("arena.bench/1", {"figures": rows}, as_json, text, as_csv, rows)


def _number(value: Any) -> str:
    return "" if value is None else figure(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _met(ok: Any) -> str:
    return "" if ok is None else "yes" if ok else "NO"
