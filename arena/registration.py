"""Registering agents that others bring: their files are kept beside the store, every content is a version of its name, results stay.

    HOME/artifacts/DIGEST/    the files of one agent, named by their content, never changed
    agents.spec               kind, source, parameters, tasks, artifact: what makes it again (secrets only as names of variables)
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena import registry, settings
from arena.artifacts import artifact, content_of, keep, upload
from arena.digest import digest
from arena.errors import ArenaError, unknown
from arena.registry import Candidate, labelled, walled

if TYPE_CHECKING:
    from arena.contract import Report
    from arena.store import AgentRow, JobRow, Store

Json = dict[str, Any]
NATURES = ("classical", "learned", "llm", "reference", "other")
WORDS = {"file": "other", "module": "other", "onnx": "learned", "sb3": "learned", "http": "other", "builtin": ""}  # kinds, and what they are


@dataclass(frozen=True)
class Draft:
    """An agent as somebody wants to register it. files: name in the artifact -> where it lies now"""

    name: str
    kind: str
    nature: str
    spec: Json
    files: Mapping[str, Path] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True)
class Registered:
    """The outcome: the stored version, whether it is new, and what the contract check said."""

    row: AgentRow
    new: bool
    report: Report
    level: str


# ---- what may be registered -------------------------------------------------------------------------------------------


def draft(
    source: str,
    name: str | None = None,
    tasks: Sequence[str] = (),
    extra: Sequence[Path] = (),
    nature: str | None = None,
    card: str = "",
    environment: Sequence[str] = (),
    token_env: str | None = None,
    allow_private: bool = False,
    encoding: str = "msgpack",
    mode: str | None = None,
) -> Draft:
    """What `source` names: file.py[:Class], module:Class, model.onnx, a folder that `arena convert` wrote, http(s)://..., or an agent that
    is known with parameters, e.g. `pid(kp=0.3)`. Nothing of it is executed or stored. Without `tasks`, `register` finds out what it plays.

    Raises ArenaError agent.name, agent.source, agent.untrusted (a zip), unknown.*.
    """
    address = re.match(r"\w*://", source) is not None  # not one within parameters
    text, _, parameters = (source, None, {}) if address else registry.parse(source)
    spec: Json = {"registered": True, "source": text, "parameters": parameters, "environment": list(environment)}
    spec["tasks"] = list(tasks)
    files: dict[str, Path] = {}
    path = Path(text).expanduser()
    if address:
        from arena.adapters.addresses import place_of

        kind = "http"
        place_of(source)  # refuses what is no address
        spec |= {"source": source, "parameters": {"token_env": token_env, "allow_private": allow_private, "encoding": encoding}}
        spec["parameters"] |= {"mode": mode} if mode else {}
    elif ".py" in text and (found := _python(text)):
        kind, (file, attribute) = "file", found
        files = {file.name: file, **_files(extra)}
        spec |= {"source": f"{file.name}:{attribute}" if attribute else file.name, "file": file.name, "attribute": attribute}
    elif path.suffix == ".onnx":
        kind, files = "onnx", {"model.onnx": _there(path)}
        spec["source"] = path.name
    elif path.suffix in (".zip", ".pkl", ".pt", ".pth"):
        hint = f"arena convert {text} --trust --out FOLDER, then: arena register FOLDER"
        raise ArenaError("agent.untrusted", f"{text} holds pickles, which execute code when they are read", hint)
    elif path.is_dir() and (path / "config.json").is_file():
        kind, files = "sb3", _files([*path.iterdir()])
        spec["source"] = path.resolve().name
    elif registry.MODULE.fullmatch(text):
        kind, folder = "module", str(Path.cwd())
        spec |= {"folder": folder, "sources": registry.module_digest(text.partition(":")[0], folder)}
    elif text in registry.agents():
        kind = "builtin"
        candidate = registry.candidate(source)
        spec |= {"source": source, "content": candidate.digest, "tasks": list(tasks) or list(candidate.tasks)}
    else:
        raise unknown("agent", text, registry.agents(), "give file.py:Class, module:Class, model.onnx, a converted folder or http://...")
    if mode and kind in ("onnx", "sb3"):
        spec["parameters"] |= {"mode": mode}
    elif mode and kind != "http":
        raise ArenaError("agent.source", f"mode {mode!r} goes with a network or a server, not with {text}", f"set mode = {mode!r} in the class")
    if extra and kind != "file":
        raise ArenaError("agent.source", f"--with {extra[0]} goes with a Python file, not with {text}", "leave it away")
    wanted = nature or (registry.candidate(source).nature if kind == "builtin" else WORDS[kind])
    if wanted not in NATURES:
        raise unknown("nature", wanted, NATURES)
    chosen = name if name is not None else registry.label_of(spec.get("attribute") or path.stem if kind != "module" else text.partition(":")[2])
    check_name(chosen)
    check_tasks(spec["tasks"])
    return Draft(chosen, kind, wanted, spec, files, card)


def check_name(name: str) -> None:
    """Raises ArenaError `agent.name` for what is no name, `agent.taken` for that of an agent that comes with a package."""
    if not registry.NAME.fullmatch(name):
        raise ArenaError("agent.name", f"{name!r} is no agent name", "use 1 to 64 of a-z 0-9 _ . - and start with a letter or digit")
    if name in registry.agents():
        origin = registry.agents()[name].origin or "Arena"
        raise ArenaError("agent.taken", f"{name} is an agent that comes with {origin}", f"choose another name, e.g. {name}-2")


def check_tasks(patterns: Sequence[str]) -> None:
    """Raises ArenaError unknown.task for a pattern that matches no task."""
    known = registry.tasks()
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise unknown("task", pattern, known, "give tasks it can play, e.g. --task 'bidding/*'")


def _tasks_of(store: Store, wanted: Draft) -> list[str]:
    """The tasks that were named, else those of the version before, else of the only domain there is. Raises ArenaError `agent.tasks`."""
    if wanted.spec["tasks"]:
        return list(wanted.spec["tasks"])
    before = [row for row in store.agents(retired=True) if row["name"] == wanted.name]
    if before:
        return list(max(before, key=lambda row: row["version"])["spec"]["tasks"])
    domains = list(registry.domains())
    if len(domains) != 1:
        hint = f"say so: --task {' or --task '.join(repr(f'{name}/*') for name in domains)}"
        raise ArenaError("agent.tasks", f"which tasks can {wanted.name} play?", hint)
    return [f"{domains[0]}/*"]


def _python(text: str) -> tuple[Path, str] | None:
    """File and attribute of `path/to/file.py:Class`. Raises ArenaError `unknown.file`."""
    head, _, attribute = text.partition(".py")
    if attribute and not attribute.startswith(":"):
        return None
    return _there(Path(head + ".py").expanduser()), attribute.removeprefix(":")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ArenaError("unknown.file", f"there is no file {path}", "give the path of a file")
    return path.resolve()


def _files(paths: Sequence[Path]) -> dict[str, Path]:
    """Files and folders (whole) by their names in the artifact. Links are refused: they would point elsewhere on another machine."""
    found: dict[str, Path] = {}
    for path in paths:
        top = path.expanduser()
        if not top.exists():
            raise ArenaError("unknown.file", f"there is no file {path}", "give the path of a file or folder")
        members = sorted(top.rglob("*")) if top.is_dir() else [top]
        for member in members:
            if member.is_symlink():
                raise ArenaError("agent.source", f"{member} is a link", "give the file itself")
            if member.is_file() and "__pycache__" not in member.parts:
                found[member.relative_to(top.parent).as_posix()] = member
    return found


# ---- candidates ---------------------------------------------------------------------------------------------------------


def registered(name: str, version: int | None, parameters: Mapping[str, Any]) -> Candidate:
    """The registered agent of that name, its newest version that is not retired unless told. Raises ArenaError unknown.agent."""
    from arena.store import open_store

    hint = "arena list agents shows all; a file is given as path/to/file.py:Class"
    known = list(registry.agents())
    try:
        with open_store(settings.store_url(), settings.home(), read_only=True) as store:
            rows = registered_rows(store)
            try:
                row = store.agent(name if version is None else f"{name}@{version}")
            except ArenaError as error:
                raise unknown("agent", name if version is None else f"{name}@{version}", [*known, *(row["name"] for row in rows)], hint) from error
            played = [] if row.spec.get("registered") else store.runs(agent_id=row.id)
            imported = bool(played) and all("origin" in run["config"] for run in played)
    except ArenaError as error:
        if error.code != "store.missing":
            raise
        raise unknown("agent", name, known, hint) from None
    if imported:
        hint = "get its files from its author, then: arena register FILE"
        raise ArenaError("agent.imported", f"{row.reference} came with a bundle: its results are here, what plays it is not", hint)
    if not row.spec.get("registered"):
        raise unknown("agent", name, known, "it played here once, but was not registered: name its file")
    return from_row(row, parameters)


def registered_rows(store: Store, retired: bool = False) -> list[Json]:
    """The rows of registered agents, without those that only add parameters to another."""
    return [row for row in store.agents(retired) if row["spec"].get("registered") and "(" not in row["name"]]


def from_row(row: AgentRow, parameters: Mapping[str, Any] = {}) -> Candidate:  # noqa: B006  it is not changed
    """The agent of a stored version. Raises ArenaError agent.artifact where its files are not here, agent.changed where they are others."""
    spec = {**row.spec, "parameters": {**row.spec["parameters"], **parameters}} if parameters else row.spec
    kind = "module" if "sources" in spec else row.kind
    if kind in ("http", "onnx") and parameters:
        raise ArenaError("agent.parameters", f"{row.reference} takes no parameters", "register it anew to change it")
    made = _candidate(Draft(labelled(row.name, parameters), kind, row.nature, spec, card=row.card))
    return made if parameters else replace(made, version=row.version)


def _candidate(wanted: Draft) -> Candidate:
    """The candidate that a spec describes; its files lie in its artifact."""
    spec, name = wanted.spec, wanted.name
    tasks, environment = tuple(spec["tasks"]), tuple(spec["environment"])
    if wanted.kind == "builtin":
        inner = registry.candidate(str(spec["source"]))
        if inner.digest != spec["content"]:
            raise ArenaError("agent.changed", f"{spec['source']}, which {name} is, has changed since", "register it anew: that is its next version")
        return replace(inner, name=name, nature=wanted.nature, spec=spec, digest=digest(spec), tasks=tasks, summary=wanted.card, version=None)
    source: Json = {"kind": wanted.kind, "label": name, "parameters": spec["parameters"]}
    if wanted.kind == "http":
        source |= {"url": spec["source"]}
    elif wanted.kind == "module":
        if registry.module_digest(spec["source"].partition(":")[0], spec["folder"]) != spec["sources"]:
            raise ArenaError("agent.changed", f"{spec['source']}, which {name} is, has changed since", "register it anew: that is its next version")
        source |= {"kind": "target", "target": spec["source"], "path": spec["folder"]}
    else:
        folder = artifact(spec["artifact"]).resolve()
        if not folder.is_dir():
            raise ArenaError(
                "agent.artifact", f"the files of {name} are not here ({folder.name[:12]} in artifacts/ of the home folder)",
                "an imported agent comes without its files: its results can be verified, it cannot be run; register it from its source to run it",
            )  # fmt: skip
        if content_of(folder) != spec["artifact"]:
            what = f"the files of {name} in artifacts/{folder.name[:12]} were altered"
            raise ArenaError("agent.changed", what, "restore them, or register it anew")
        if wanted.kind == "file":
            source |= {"path": str(folder / spec["file"]), "attribute": spec["attribute"], "folder": str(folder)}
        else:
            source["path"] = str(folder / "model.onnx") if wanted.kind == "onnx" else str(folder)
    kind = "file" if wanted.kind == "module" else wanted.kind
    return walled(
        name, kind, wanted.nature, spec, digest(spec), source, tasks=tasks, summary=wanted.card, environment=environment, remote=kind == "http"
    )


# ---- registering --------------------------------------------------------------------------------------------------------


def register(store: Store, wanted: Draft, tell: Callable[[str, bool | None, str], None] = lambda rule, ok, detail: None) -> Registered:
    """Check the agent on a small task it can play and store it; content that is known already is the version it has.

    tell: called with rule, outcome and detail of every check
    Raises ArenaError `agent.contract` where it breaks the contract, with all `checks` in its context, `agent.tasks` where nobody said what
    it plays; nothing is stored then.
    """
    from arena.contract import check_agent, tiny_task

    wanted = replace(wanted, spec={**wanted.spec, "tasks": _tasks_of(store, wanted)})
    content = keep(wanted.files)
    new_files = bool(content) and not any(row["spec"].get("artifact") == content for row in store.agents(retired=True))
    try:
        made = _candidate(replace(wanted, spec={**wanted.spec, "artifact": content}))
        task = registry.task(tiny_task(made.tasks))
        report = check_agent(lambda: made.enter(task.view), task)
        for check in report.checks:
            tell(check.rule, check.ok, check.detail)
        if not report.ok:
            checks = [{"rule": check.rule, "ok": check.ok, "detail": check.detail} for check in report.checks]
            first = next(check for check in report.checks if check.ok is False)
            hint = "mend it and register again; arena check shows the same"
            raise ArenaError("agent.contract", f"{wanted.name} breaks the contract: {first.rule}: {first.detail}", hint, checks=checks)
    except BaseException:
        if new_files:
            shutil.rmtree(artifact(content), ignore_errors=True)
        raise
    known = {row["id"] for row in store.agents(retired=True)}
    card = wanted.card or f"from {wanted.spec['source']}"
    row = store.ensure_agent(wanted.name, made.nature, made.kind, made.spec, artifact_digest=made.digest, card=card)
    if row.retired is not None:
        store.retire_agent(row.id, retired=False)
    return Registered(row, row.id not in known, report, made.level)


# ---- asked for from elsewhere ---------------------------------------------------------------------------------------------

TOKENS = "ARENA_TOKEN_"  # what variables are called that somebody who only fills in a form may name: the worker holds other secrets, too
QUEUED = ("builtin", "http", "onnx", "file")  # kinds a queue takes; a file only where the owner of this machine allows code from the browser


def submit(store: Store, spec: Json) -> JobRow:
    """Ask for a registration, which a worker then makes.

    spec: {"kind": builtin | http | onnx, "name", "source": reference, URL or upload:SHA256, "tasks": [globs], "token_env": str | None,
        "mode": str | None}
    Raises ArenaError as `draft` does, agent.kind, agent.upload, agent.token; nothing is asked for then.
    """
    requested(spec)
    return store.enqueue("register", spec)


def requested(spec: Json) -> Draft:
    """The draft behind a spec of `submit`, checked."""
    kind, source = str(spec.get("kind")), str(spec.get("source") or "").strip()
    if kind not in QUEUED or (kind == "file" and os.environ.get("ARENA_ALLOW_UPLOAD_CODE") != "1"):
        hint = "builtin, http or onnx; files and SB3 models in a terminal: arena register"
        raise ArenaError("agent.kind", f"agents of kind {kind!r} cannot be registered this way", hint)
    if kind in ("onnx", "file"):
        suffix = ".onnx" if kind == "onnx" else ".py"
        word, _, content = source.partition(":")
        path = upload(f"{content}{suffix}")
        if word != "upload" or not content.isalnum() or not path.is_file():
            raise ArenaError("agent.upload", f"{source or 'nothing'} was not uploaded", "choose the file again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != content:
            raise ArenaError("agent.upload", f"the upload {content[:12]} is damaged", "choose the file again")
        source = f"{path}:{spec['attribute']}" if spec.get("attribute") else str(path)
    elif kind == "http" and "://" not in source:
        raise ArenaError("agent.address", f"{source!r} is no address", "give https://host/path")
    elif kind == "builtin":
        known, _, parameters = registry.parse(source)
        if known not in registry.agents():
            raise unknown("agent", source, registry.agents())
        if "checkpoint" in parameters:
            hint = "register it in a terminal: arena register"
            raise ArenaError("agent.source", f"{source} names a folder of this machine, which a form may not", hint)
        if {"endpoint", "key_env"} & set(parameters):  # else the worker would send its secrets anywhere, for whoever fills in a form
            raise ArenaError("agent.source", f"{known} is asked over the network", "register it in a terminal: arena register")
    token_env = str(spec.get("token_env") or "") or None
    if token_env is not None and not re.fullmatch(TOKENS + "[A-Z0-9_]+", token_env):
        hint = f"call the worker's variable {TOKENS}NAME, or register in a terminal: arena register URL --token-env {token_env}"
        raise ArenaError("agent.token", f"{token_env!r} is no variable whose value may be sent to a server that a form names", hint)
    name, card, mode = str(spec.get("name") or ""), str(spec.get("card") or ""), spec.get("mode") or None
    return draft(source, name, spec.get("tasks") or (), token_env=token_env, card=card, mode=mode)
