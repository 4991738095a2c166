"""`arena train`: one training seed of a learning agent, from a task's training scenarios to a checkpoint folder."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, Device, device
from arena.cli.output import AsJson, Quiet, deliver, duration, figure, literal, notice, shown_path
from arena.errors import ArenaError

EVERY = 1.0  # seconds between lines of progress


def train(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="A trainable agent, with its parameters.", show_default=False)],
    task: Annotated[str, typer.Option("--task", "-t", help="The task whose training scenarios it learns from.", show_default=False)],
    seed: Annotated[int, typer.Option("--seed", help="Training seed.", min=0)] = 0,
    budget: Annotated[int | None, typer.Option("--budget", help="How much it may learn, in the agent's own unit.", min=1, show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.  [default: HOME/agents/NAME/seed-N]", show_default=False)] = None,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train an agent. An interrupted training goes on when it is asked for again, where the agent can do that."""
    from arena import registry

    settings.override(data=data)
    quiet = quiet or as_json
    device(on)
    candidate = registry.candidate(agent)
    chosen = registry.task(task)
    learner: Any = candidate.make()
    if not hasattr(learner, "train"):
        able = [name for name, spec in registry.agents().items() if spec.trainable]
        raise ArenaError("agent.untrainable", f"{candidate.name} does not learn", f"these do: {', '.join(able) or 'none yet'}")
    options = _budget(learner, budget, candidate.name)
    folder = (out or settings.home() / "agents" / candidate.name.split("(")[0] / f"seed-{seed}").resolve()
    log = _Log(quiet)
    going_on = folder.is_dir() and any(folder.iterdir())
    notice(f"{candidate.name} learns on {chosen.id}, seed {seed}" + (f", going on in {shown_path(folder)}" if going_on else ""), quiet)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        learner.train(chosen.view, seed=seed, folder=folder, log=log.add, **options)
    except OSError as error:
        raise ArenaError("store.io", f"{folder} cannot be written: {error.strerror or error}", "name another folder: --out") from error
    except KeyboardInterrupt:
        notice(f"interrupted: what was learned so far is in {shown_path(folder)}; the same command goes on where the agent can", quiet)
        raise
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    # seeds side by side are one agent: run seed r plays checkpoint r
    whole = folder.parent if folder.name == f"seed-{seed}" else folder
    use = f"arena run -t {chosen.id} -a '{registry.parse(agent)[0]}(checkpoint={whole})'"
    document = {
        "agent": candidate.name, "task": chosen.id, "seed": seed, "budget": budget, "folder": str(folder), "files": files,
        "seconds": log.seconds, "lines": log.count, "last": log.last, "use": use,
    }  # fmt: skip

    def text() -> None:
        print(f"{literal(shown_path(folder))}: {', '.join(files)}; {duration(log.seconds)}")
        print(f"play it with: {literal(use)}")

    deliver("arena.training/1", document, as_json, text)


def _budget(learner: Any, budget: int | None, name: str) -> dict[str, int]:
    """The budget as a keyword; none where the agent has a default of its own."""
    if budget is not None:
        return {"budget": budget}
    wanted = inspect.signature(learner.train).parameters.get("budget")
    if wanted is not None and wanted.default is inspect.Parameter.empty:
        raise ArenaError("train.budget", f"{name} has no budget of its own", "say how much it may learn: --budget N")
    return {}


class _Log:
    """What a learner reports, shown now and then on stderr; the trainer itself keeps all of it in `training.jsonl`."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.count, self.began, self.told = quiet, 0, time.perf_counter(), 0.0
        self.last: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def add(self, line: dict[str, float]) -> None:
        self.last, self.count = {name: float(value) for name, value in line.items()}, self.count + 1
        if self.seconds - self.told >= EVERY or not self.told:
            self.told = self.seconds
            words = "  ".join(f"{name} {figure(value, 4)}" for name, value in self.last.items())
            notice(f"  {duration(self.seconds)}  {words}", self.quiet)
