"""`arena train`: one training seed of a learning agent, from a task's training scenarios to a checkpoint folder."""

from __future__ import annotations

import inspect
import json
import shutil
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
    """Train an agent. The checkpoint folder appears whole, or not at all when training is interrupted."""
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
    folder = out or settings.home() / "agents" / registry.parse(agent)[0] / f"seed-{seed}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArenaError("train.exists", f"{shown_path(folder)} is there already", "train another --seed, name another --out, or move it away")
    log = _Log(folder, quiet)
    notice(f"{candidate.name} learns on {chosen.id}, seed {seed}", quiet)
    try:
        learner.train(chosen.view, seed=seed, folder=log.partial, log=log.add, **options)
        log.close()
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rmdir()  # an empty one, as was checked
        log.partial.rename(folder)
    except BaseException:
        log.close()
        shutil.rmtree(log.partial, ignore_errors=True)
        raise
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    use = f"arena run -t {chosen.id} -a '{registry.parse(agent)[0]}(checkpoint={shown_path(folder)})'"
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
    """What a learner reports: kept line by line in `training.jsonl` beside its checkpoint, shown now and then on stderr."""

    def __init__(self, folder: Path, quiet: bool) -> None:
        self.partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(self.partial, ignore_errors=True)
        try:
            self.partial.mkdir(parents=True)
        except OSError as error:
            raise ArenaError("store.readonly", f"{self.partial.parent} cannot be written ({error.strerror})", "name another folder: --out") from error
        self.quiet, self.count, self.began, self.told = quiet, 0, time.perf_counter(), 0.0
        self.last: dict[str, float] = {}
        self.file = (self.partial / "training.jsonl").open("a", encoding="utf-8")

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def add(self, line: dict[str, float]) -> None:
        self.last, self.count = {name: float(value) for name, value in line.items()}, self.count + 1
        self.file.write(json.dumps({"seconds": round(self.seconds, 3), **self.last}) + "\n")
        self.file.flush()
        if self.seconds - self.told >= EVERY:
            self.told = self.seconds
            words = "  ".join(f"{name} {figure(value, 4)}" for name, value in self.last.items())
            notice(f"  {duration(self.seconds)}  {words}", self.quiet)

    def close(self) -> None:
        self.file.close()
