"""What commands stand on: the store, the device, the task behind a stored run, the parts a domain brings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.registry import DomainSpec
    from arena.store import RunRow, Store
    from arena.task import Task

Data = Annotated[Path | None, typer.Option("--data", help="Folder of real data.  [setting: data]", show_default=False)]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N.  [setting: device]", show_default=False)]
RunId = Annotated[int, typer.Argument(metavar="RUN", help="Number of the run.", show_default=False)]


def store(read_only: bool = True) -> Store:
    """The store of the settings."""
    from arena.store import open_store

    return open_store(settings.store_url(), settings.home(), read_only=read_only)


def store_or_none() -> Store | None:
    """The store for reading; None where there is none yet."""
    if settings.store_url() is None and not (settings.home() / "arena.db").exists():
        return None  # and nothing heavy is imported to find that out
    try:
        return store()
    except ArenaError as error:
        if error.code == "store.missing":
            return None
        raise


def device(asked: str | None) -> str:
    """The device of the settings. Raises ArenaError `device.missing` where it is a GPU that is not there."""
    settings.override(device=asked)
    name = settings.setting("device").value
    if name == "cpu":
        return name
    import torch

    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise ArenaError("device.unknown", f"{name!r} is no device", "devices: cpu, cuda, cuda:0") from error
    there = torch.cuda.device_count() if place.type == "cuda" else 0
    if place.type != "cuda" or (place.index or 0) >= there:
        found = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(there)) or "no GPU"
        raise ArenaError(
            "device.missing", f"device {name} was asked for, PyTorch {torch.__version__} sees {found}", "leave --device away to use the CPU"
        )
    return name


def task_of_run(store: Store, run: RunRow) -> Task:
    """The task of a stored run. Raises ArenaError `task.changed` where the one at hand has other content."""
    from arena import registry

    reference, stored = str(run.config["task"]), store.task(run.task_id)
    task = registry.task(reference)
    if task.digest != stored.digest:
        raise ArenaError(
            "task.changed",
            f"run {run.id} was played on {stored.name} with digest {stored.digest[:12]}; the task at hand has {task.digest[:12]}",
            "restore the data and code of the run, or start a new one",
            expected=stored.digest,
            found=task.digest,
        )
    return task


def part(domain: DomainSpec, name: str) -> Any:
    """What a domain brings under `name` (check, figures, bench). Raises ArenaError where it brings nothing or it cannot be imported."""
    import importlib

    from arena.registry import load

    target = str(getattr(domain, name))
    if not target:
        raise ArenaError("domain.part", f"the domain {domain.name} has no {name!r}", "the other domains may: arena list domains")
    try:
        return load(target) if ":" in target else importlib.import_module(target)
    except (ImportError, AttributeError) as error:
        raise ArenaError("domain.broken", f"{target} ({name} of {domain.name}) cannot be imported: {error}", "install what it needs") from error
