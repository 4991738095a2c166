"""`arena doctor`: what this installation is made of, and what is broken in it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from arena import settings
from arena.cli.output import AsJson, Column, deliver, literal, pairs, size, table
from arena.errors import EXIT_INTERNAL, ArenaError

PACKAGES = (
    "arena-bench", "torch", "numpy", "scipy", "numba", "gymnasium", "pettingzoo", "stable-baselines3", "sqlalchemy", "alembic", "pandas", "pyarrow",
    "plotly", "streamlit", "typer", "rich", "pydantic", "safetensors", "zstandard", "psycopg",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
Json = dict[str, Any]


def doctor(as_json: AsJson = False) -> int:
    """What this installation is made of, and what is broken.

    Settings with their origin, packages, machine, store, data, plugins. Exit code 1 where something is broken.
    """
    from arena import registry
    from arena.cli.data import wanted

    problems: list[str] = []
    options = _settings(problems)
    registry.domains(), registry.agents()
    problems += [f"plugin {plugin}: {reason}" for plugin, reason in registry.broken.items()]
    document: Json = {
        "settings": options, "python": platform.python_version(), "packages": {name: _version(name) for name in PACKAGES},
        "machine": _machine(problems), "store": _store(problems), "data": wanted(), "problems": problems,
        "plugins": [{"domain": name, "tasks": len(spec.tasks)} for name, spec in registry.domains().items()],
        "broken": [{"plugin": plugin, "reason": reason} for plugin, reason in registry.broken.items()],
    }  # fmt: skip
    document["ok"] = not problems
    deliver("arena.doctor/1", document, as_json, lambda: _print(document))
    return EXIT_INTERNAL if problems else 0


def _settings(problems: list[str]) -> list[Json]:
    found = []
    for name in settings.DEFAULTS:
        try:
            setting = settings.setting(name)
        except ArenaError as error:
            if str(error) not in problems:
                problems.append(str(error))
            continue
        value = masked(setting.value) if name == "store" else setting.value
        found.append({"name": name, "value": value, "origin": setting.origin})
    return found


def masked(url: str) -> str:
    """The address of a store without its password."""
    from arena.store.database import display, parse_url

    if not url:
        return url
    try:
        return display(parse_url(url, Path()))
    except ArenaError:
        return "(cannot be read)"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine(problems: list[str]) -> Json:
    import torch

    gpus = [
        {"name": torch.cuda.get_device_name(i), "memory": torch.cuda.get_device_properties(i).total_memory} for i in range(torch.cuda.device_count())
    ]
    home = _safe_home()
    place = home
    while not place.exists():
        place = place.parent
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        wish = settings.setting("device").value
    except ArenaError:
        wish = "cpu"
    if wish.startswith("cuda") and not gpus:
        problems.append(f"the setting device is {wish}, and PyTorch sees no GPU")
    return {
        "platform": platform.platform(), "cores": os.cpu_count(), "cores_usable": usable,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "memory_free": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"),
        "home": str(home), "disk_free": shutil.disk_usage(place).free, "filesystem": filesystem(place), "gpus": gpus, "cuda": torch.version.cuda,
        "threads": {"torch": torch.get_num_threads(), **{name: os.environ.get(name) for name in THREADS}},
    }  # fmt: skip


def _safe_home() -> Path:
    try:
        return settings.home().resolve()
    except ArenaError:
        return Path(settings.DEFAULTS["home"]).resolve()


def filesystem(path: Path) -> str | None:
    """The type of the file system that holds a path, as the kernel lists its mounts; None where it lists none."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return None
    holding = [(len(place), kind) for _, place, kind, *_ in mounts if path.is_relative_to(place.replace("\\040", " "))]
    return max(holding, default=(0, None))[1]


def _store(problems: list[str]) -> Json:
    from arena.store import open_store
    from arena.store.schema import REVISION

    found: Json = {"place": None, "reachable": False, "revision": None, "expected": REVISION, "runs": None, "filesystem": None, "message": ""}
    try:
        with open_store(settings.store_url(), settings.home(), read_only=True) as opened:
            counts = opened.overview()
            runs = sum(counts[state] for state in ("queued", "running", "complete", "failed", "cancelled"))
            kind = None if opened.path is None else filesystem(opened.path)
            # a store that opens has this version's schema
            found |= {"place": opened.url, "reachable": True, "revision": REVISION, "runs": runs, "filesystem": kind}
            stalled = [run.id for run in opened.stalled()]
            if stalled:
                found["message"] = f"stalled runs: {', '.join(map(str, stalled))}; arena resume --stalled"
    except ArenaError as error:
        found["message"] = str(error)
        found["revision"] = error.context.get("found")
        if error.code != "store.missing":
            problems.append(f"store: {error.message}")
    return found


def _print(found: Json) -> None:
    table([Column("setting"), Column("value", fold=True), Column("from")], [(s["name"], s["value"], s["origin"]) for s in found["settings"]])
    print()
    machine, store = found["machine"], found["store"]
    threads = ", ".join(f"{name} {value}" for name, value in machine["threads"].items() if value is not None)
    gpus = ", ".join(f"{gpu['name']} ({size(gpu['memory'])})" for gpu in machine["gpus"]) or "none"
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items() if number)
    absent = ", ".join(name for name, number in found["packages"].items() if not number)
    rows: list[tuple[str, object]] = [
        ("python", f"{found['python']} on {machine['platform']}"),
        ("packages", packages + (f"; not installed: {absent}" if absent else "")),
        ("cores", f"{machine['cores_usable']} of {machine['cores']}"),
        ("memory", f"{size(machine['memory_free'])} free of {size(machine['memory'])}"),
        ("disk", f"{size(machine['disk_free'])} free in {machine['home']} ({machine['filesystem'] or 'unknown file system'})"),
        ("GPU", gpus),
        ("threads", threads),
    ]
    if store["reachable"]:
        kind = f", {store['filesystem']}" if store["filesystem"] else ""
        rows.append(("store", f"{store['place']}: reachable, schema {store['revision']}, {store['runs']} runs{kind}"))
    if store["message"]:
        rows.append(("store", store["message"].replace("\n ", ";")))
    for domain in dict.fromkeys(row["domain"] for row in found["data"]):
        mine = [row for row in found["data"] if row["domain"] == domain]
        there = [row["task"].split("/")[1] for row in mine if row["found"]]
        rows.append((f"data of {domain}", f"{len(there)} of {len(mine)} tasks on real data have their files: {', '.join(there) or 'none'}"))
    pairs(rows)
    print()
    for problem in found["problems"]:
        print(f"broken: {literal(problem)}")
    if not found["problems"]:
        print("nothing is broken")
