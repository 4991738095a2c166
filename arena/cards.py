"""Agent cards in the form of the Hugging Face hub: YAML front matter with the results (`model-index`), then Markdown for people.

Everything in the front matter comes from the store. What the agent's author wrote stands last, under a heading of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena import registry
from arena.store import AgentRow, Store

Json = dict[str, Any]
_HEADLINES = {"mean": "mean score", "iqm": "interquartile mean of the scores", "of_means": "score of the whole set"}
_MARKUP = re.compile(r"([\\`*_\[\]<>!|~$&])")


@dataclass(frozen=True)
class Card:
    """front: the data of the front matter; text: the whole card."""

    front: Json
    text: str


def agent_card(store: Store, agent: AgentRow) -> Card:
    """The card of one version of an agent, from what the store knows of it."""
    lines = store.standings(agent.id)
    results, machines = [], {}
    for line in lines:
        entries = store.pooled_entries(line["task_id"], [agent.id]) if line["tier"] != "suite" else []
        runs = {entry["run_id"]: entry["seed"] for entry in entries}
        line["seeds"] = sorted(set(runs.values()))
        for run_id in runs:
            place = store.run_row(run_id).environment_id
            if place not in machines:
                machines[place] = store.run(run_id)["environment"]
        results.append(_result(store, line))
    front: Json = {
        "library_name": "arena",
        "tags": sorted({"arena", agent.nature, *(line["domain"] for line in lines), *agent.tags}),
        "model-index": [{"name": agent.reference, "results": results}],
        "arena": {
            "agent": agent.reference, "nature": agent.nature, "kind": agent.kind, "digest": agent.digest, "artifact": agent.artifact_digest,
            "hardware": [_machine(detail) for detail in machines.values()], "training": _training(store.home, agent),
        },
    }  # fmt: skip
    return Card(front, f"---\n{_yaml(front)}---\n\n{_body(agent, front, lines)}")


def _result(store: Store, line: Mapping[str, Any]) -> Json:
    task = store.task(line["task_id"])
    detail = {
        "confidence": 0.95, "low": line["lo"], "high": line["hi"], "scenarios": line["n"], "runs": line["runs"], "seeds": line["seeds"],
        "failed": line["failed"], "iqm": line["iqm"], "ms_per_decision": line["ms"],
    }  # fmt: skip
    metric = {"type": "score", "name": _HEADLINES[task.headline], "value": line["headline"], "verified": bool(line["verified"]), "args": detail}
    dataset = {"type": "arena", "name": line["task"], "split": "test", "revision": task.digest}
    return {"task": {"type": "decision-making", "name": line["task"]}, "dataset": dataset, "metrics": [metric]}


def _machine(detail: Mapping[str, Any]) -> Json:
    packages = detail.get("packages") or {}
    found = {"cpu": detail.get("cpu"), "cores": detail.get("cores"), "gpu": (detail.get("gpu") or {}).get("name"), "platform": detail.get("platform")}
    return {**found, "python": detail.get("python"), "arena": packages.get("arena-bench"), "torch": packages.get("torch")}


# ---- training ------------------------------------------------------------------------------------------------------


def _training(home: Path, agent: AgentRow) -> Json | None:
    """What the checkpoints an agent plays say of their making: how many there are, the seconds it took, what all of them have in common."""
    folder = _checkpoints(home, agent)
    parts: list[Json] = []
    for path in sorted(folder.rglob("config.json")) if folder is not None else ():
        try:
            config = json.loads(path.read_text())
            said = {key: config[key] for key in ("budget", "done", "seconds") if key in config}
            parts.append({**said, **(config.get("training") or {}), **(config.get("run") or {})})
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # not the config of a checkpoint
    if not any(parts):
        return None
    shared = {key: value for key, value in parts[0].items() if isinstance(value, str | int | float) and all(p.get(key) == value for p in parts)}
    seconds = [part["seconds"] for part in parts if isinstance(part.get("seconds"), int | float)]
    seeds = {part["seed"] for part in parts if isinstance(part.get("seed"), int)}
    found: Json = {"checkpoints": len(parts), "seeds": sorted(seeds), "seconds": round(sum(seconds), 2) if seconds else None}
    return found | {key: value for key, value in sorted(shared.items()) if key not in (*found, "seed")}


def _checkpoints(home: Path, agent: AgentRow) -> Path | None:
    """The folder of the weights: registered with the agent, named by its parameter `checkpoint`, or shipped with its code."""
    parameters = agent.spec.get("parameters") or {}
    if agent.spec.get("artifact"):
        return home / "artifacts" / str(agent.spec["artifact"])
    if isinstance(parameters, dict) and parameters.get("checkpoint"):
        return Path(str(parameters["checkpoint"])).expanduser()
    spec = registry.agents().get(agent.name.partition("(")[0])
    if agent.kind != "builtin" or spec is None or not spec.weights or spec.target != agent.spec.get("target"):
        return None
    module = importlib.util.find_spec(spec.target.split(":")[0])
    return Path(module.origin).parent / spec.weights if module is not None and module.origin is not None else None


# ---- text ----------------------------------------------------------------------------------------------------------


def _yaml(front: Mapping[str, Any]) -> str:
    """The front matter. Text of several lines is written within quotes on one line, so that nothing in it can end the front matter."""
    import yaml

    dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})

    def text(into: Any, value: str) -> Any:
        return into.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')

    yaml.add_representer(str, text, Dumper=dumper)
    return str(yaml.dump(dict(front), Dumper=dumper, sort_keys=False, allow_unicode=True, width=1 << 30))


def _body(agent: AgentRow, front: Mapping[str, Any], lines: list[Json]) -> str:
    kind = f"An agent of nature {_plain(agent.nature)} and kind {_plain(agent.kind)}, digest `{agent.digest[:12]}`.\n"
    parts = [f"# {_plain(agent.reference)}\n", kind, "## Results\n"]
    if lines:
        parts += ["| task | score (95 %) | IQM | scenarios | seeds | failed | verified |", "|---|---|---|---|---|---|---|"]
        parts += [_row(line) for line in lines]
        parts += ["\nA score of 0 is that of the task's lower reference, 1 that of its upper one; the interval is over scenarios and seeds."]
        parts += ["Verified: every metric was derived again from the recorded actions.\n"]
    else:
        parts += ["None yet.\n"]
    machines, training = front["arena"]["hardware"], front["arena"]["training"]
    if machines:
        parts += ["## Hardware\n", *("- " + ", ".join(f"{key} {_plain(str(value))}" for key, value in m.items() if value) for m in machines), ""]
    if training:
        parts += ["## Training\n", *(f"- {_plain(key)}: {_plain(str(value))}" for key, value in training.items()), ""]
    if agent.card.strip():
        parts += ["## In its author's words\n", agent.card.strip(), ""]
    return "\n".join(parts)


def _row(line: Mapping[str, Any]) -> str:
    span = f" [{line['lo']:.3f}, {line['hi']:.3f}]" if line["lo"] is not None and line["hi"] is not None else ""
    iqm = "" if line["iqm"] is None else f"{line['iqm']:.3f}"
    seeds = ", ".join(map(str, line["seeds"])) or str(line["runs"])
    verified = "yes" if line["verified"] else "no"
    return f"| {_plain(line['task'])} | {line['headline']:.3f}{span} | {iqm} | {line['n']:,} | {seeds} | {line['failed']} | {verified} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
