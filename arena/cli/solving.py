"""`arena solve`: any agent on one instance file of the user's own, its solution and a picture of it."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.checking import write_page
from arena.cli.opening import Data, Device, device, part
from arena.cli.output import AsJson, Quiet, deliver, duration, literal, notice, pairs, shown_path
from arena.errors import EXIT_FAILURES, ArenaError, unknown

if TYPE_CHECKING:
    from arena.registry import Candidate, DomainSpec
    from arena.rollout import Episode
    from arena.task import Task

Json = dict[str, Any]


def solve(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An instance: .tsp, .atsp, .vrp, .oplib, plain or .gz.", show_default=False)],
    agent: Annotated[str, typer.Option("--agent", "-a", help="Agent, with its parameters, or file.py:Class.", show_default=False)],
    domain: Annotated[str | None, typer.Option("--domain", "-d", help="Whose file it is.  [default: who reads it]", show_default=False)] = None,
    rounding: Annotated[
        str | None, typer.Option("--rounding", help="Distances: nint (to whole numbers) or none.  [default: as its library does]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the agent's luck.", min=0)] = 0,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="FILE.html, .svg, .png or .pdf.  [default: OUT/NAME.AGENT.html]", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for solution and picture.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Overwrite solution and picture of an earlier time.")] = False,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Solve your own instance: the solution, checked, as a file and as a picture. Exit code 3 where the agent does not come to one."""
    from arena import registry

    settings.override(data=data)
    place, quiet = device(on), quiet or as_json
    if not file.is_file():
        raise ArenaError("unknown.file", f"there is no file {file}", "give the path of an instance")
    spec = _reader(file, domain)
    solver, options = part(spec, "solve"), f",rounding={rounding}" if rounding else ""
    task = registry.task(f"{spec.name}/{registry.OWN_FILE}(path='{file.resolve().as_uri()}'{options})")
    candidate = registry.candidate(agent)
    _plays(candidate, task)
    label = registry.label_of(candidate.name)
    drawn = picture or out / f"{Path(solver.solution_name(task, label)).stem}.html"
    written = out / solver.solution_name(task, label)
    if drawn.suffix.lower() not in solver.PICTURES:
        raise ArenaError("output.picture", f"{drawn.name} is no kind of picture", f"kinds: {', '.join(solver.PICTURES)}")
    _free(file, (written, drawn), force)
    notice(f"{candidate.name} solves {task.summary}", quiet)
    for warning in solver.warnings(task):
        notice(f"warning: {warning}", as_json)
    with redirect_stdout(sys.stderr):  # the result alone goes to stdout, whatever the agent prints
        episode, seconds = _play(task, candidate, seed, place)
    failure = next((f"step {f.step}: {f.detail}" for f in episode.failures), None)
    solved = None if failure else solver.judge(task, {role: moves[:, 0] for role, moves in episode.actions.items()})
    done = solved is not None and solved.feasible
    if done:
        _write(solver, solved, written, drawn, f"{task.config['instance']}, {candidate.name}")
    timing = episode.timings[task.role]
    document = {
        "file": str(file), "domain": spec.name, "agent": candidate.name, "seed": seed, "played_as": task.id, **solver.told(task, solved),
        "failure": failure, "decisions": timing.decisions, "decision_seconds": timing.nanoseconds / 1e9, "seconds": seconds,
        "solution_file": str(written) if done else None, "picture": str(drawn) if done else None,
    }  # fmt: skip
    deliver("arena.solved/1", document, as_json, lambda: _print(document))
    return 0 if done else EXIT_FAILURES


def _reader(file: Path, domain: str | None) -> DomainSpec:
    """The domain whose file it is. Raises ArenaError `unknown.domain`, `data.unsupported`, `data.domain`."""
    from arena import registry

    able = {name: spec for name, spec in registry.domains().items() if spec.solve}
    if domain is not None:
        if domain not in able:
            raise unknown("domain", domain, able, "these solve files of yours")
        return able[domain]
    found = [spec for spec in able.values() if part(spec, "solve").reads(file)]
    if not found:
        endings = ", ".join(ending for spec in able.values() for ending in part(spec, "solve").ENDINGS)
        raise ArenaError("data.unsupported", f"nobody reads {file.name}", f"files that are read: {endings or 'none'}; or say whose it is: --domain")
    if len(found) > 1:
        names = [spec.name for spec in found]
        raise ArenaError("data.domain", f"{' and '.join(names)} read {file.name}", f"say whose it is: --domain {' or '.join(names)}")
    return found[0]


def _plays(candidate: Candidate, task: Task) -> None:
    """Raises ArenaError `agent.incompatible` naming those that can play the task."""
    from arena import registry

    if not candidate.plays(task.id):
        able = [name for name, spec in registry.agents().items() if spec.plays(task.id)]
        raise ArenaError(
            "agent.incompatible",
            f"{candidate.name} does not play {task.summary}; it plays {', '.join(candidate.tasks)}",
            f"these do: {', '.join(able) or 'none yet'}; or one of your own: file.py:Class",
        )


def _free(file: Path, wanted: tuple[Path, ...], force: bool) -> None:
    """Before anything is played: what would be written does not overwrite the instance, nor without --force anything else."""
    for path in wanted:
        if path.resolve() == file.resolve():
            raise ArenaError("output.exists", f"{path} is the instance itself", "name another: --out, --picture")
        if path.exists() and not force:
            raise ArenaError("output.exists", f"{path} is there already", "--force overwrites it; or name another: --out, --picture")


def _play(task: Task, candidate: Candidate, seed: int, place: str) -> tuple[Episode, float]:
    """The agent on the instance, under the contract of any run; and how many seconds that took, planning included."""
    import torch

    from arena.engines.work import leave, seat
    from arena.rollout import rollout

    lineup = seat(task, candidate)
    try:
        for player in lineup.values():
            player.agent.check(task.view)
        began = time.perf_counter()
        episode = rollout(task.domain, task.rows(0, 1), lineup, task=task.view, ids=torch.zeros(1, dtype=torch.int64), seed=seed, device=place)
        return episode, time.perf_counter() - began
    finally:
        leave(lineup)


def _write(solver: Any, solved: Any, written: Path, drawn: Path, title: str) -> None:
    """Solution and picture as files. Raises ArenaError `output.file`."""
    try:
        for path in (written, drawn):
            path.parent.mkdir(parents=True, exist_ok=True)
        solver.write(solved, written)
        if drawn.suffix.lower() == ".html":
            write_page(title, solver.figures(solved), drawn)
        else:
            solver.picture(solved, drawn)
    except OSError as error:
        what = error.filename or written.parent
        raise ArenaError("output.file", f"{what} cannot be written: {error.strerror or error}", "name another: --out, --picture") from error


def _print(document: Json) -> None:
    kind, value, best, textbook = ("value" if document["maximise"] else "cost"), document["value"], document["best"], document["textbook"]
    rows: list[tuple[str, str]] = [("instance", f"{document['instance']}: {document['about']}"), ("agent", document["agent"])]
    if document["failure"]:
        rows.append(("failed", document["failure"].split("\n")[0]))
    elif not document["feasible"]:
        rows.append(("no solution", document["reason"]))
    if value is not None:
        rows += [(kind, _number(value)), ("feasible", "yes, by a checker apart from the kernel")]
    if best is None:
        rows.append(("best known", "unknown"))
    else:
        gap = "" if document["gap"] is None else f": gap {document['gap']:.3f} %" if document["gap"] >= 0 else f": {-document['gap']:.3f} % better"
        rows.append(("best known", f"{_number(best)} ({document['best_source']}){gap}"))
    better = "" if value is None else f": {_ahead(value, textbook, document['maximise'])}"
    rows.append(("textbook rule", f"{_number(textbook)}{better}"))
    rows.append(("time", f"{document['decisions']:,} decisions in {document['decision_seconds']:.3g} s; {duration(document['seconds'])} in all"))
    rows += [(what, shown_path(document[key])) for what, key in (("solution", "solution_file"), ("picture", "picture")) if document[key]]
    pairs([(name, literal(text)) for name, text in rows])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


def _ahead(value: float, textbook: float, maximise: bool) -> str:
    ahead = 100 * (value - textbook if maximise else textbook - value) / (abs(textbook) or 1.0)
    return "the same" if value == textbook else f"{abs(ahead):.2f} % {'better' if ahead > 0 else 'worse'}"
