"""What the JSON files of a bundle hold, and what of an agent leaves its machine: no folder names, no secrets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from arena.digest import canonical_json, digest
from arena.errors import ArenaError

SCHEMA = "arena.bundle/1"

# ---- what leaves ---------------------------------------------------------------------------------------------------

_SECRET = re.compile(r"(password|passwd|secret|token|api_?key|authorization|credentials?)$", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(\w+://[^\s?#,()'\"]*)[?#][^\s,()'\"]*")
_ROOT = r"(?:~?/|[A-Za-z]:[\\/])(?=[^\s\\/])"  # of an absolute path
_FOLDER = re.compile(rf"(?<![\w.:/\\~]){_ROOT}[^,()'\"\n]*[\\/](?=[^\s\\/])")
_FOLDER_IN_TEXT = re.compile(rf"(?<=[\"']){_ROOT}[^\"'\n]*[\\/](?=[^\s\\/])|(?<![\w.:/\\~]){_ROOT}[^\s,()'\"]*[\\/](?=[^\s\\/])")


def public(value: Any) -> Any:
    """Plain data without folders (of a path its last part stays), logins and queries of URLs, and values whose key says that they are secret."""
    if isinstance(value, Mapping):
        return {key: public(item) for key, item in value.items() if not _SECRET.search(str(key))}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    return _cut(value, _FOLDER) if isinstance(value, str) else value


def public_text(text: str) -> str:
    """The same for prose, in which a path ends at the next space unless it is quoted."""
    return _cut(text, _FOLDER_IN_TEXT)


def _cut(text: str, folder: re.Pattern[str]) -> str:
    """Cut until nothing is left to cut: what came in must leave as it is."""
    while (shorter := folder.sub("", _QUERY.sub(r"\1", _LOGIN.sub("", text)))) != text:
        text = shorter
    return text


def public_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What makes an agent, as it leaves. That it was registered there does not: elsewhere it is known by its results, and nobody can run it."""
    found: dict[str, Any] = public({key: value for key, value in spec.items() if key != "registered"})
    return found


def content_of(agent: Mapping[str, Any]) -> str:
    """The digest by which an agent is known to others: that of its content as far as it leaves."""
    identity = {name: agent[name] for name in ("nature", "kind", "domain")}
    return digest({**identity, "spec": public_spec(agent["spec"]), "artifact": agent["artifact_digest"]})


# ---- what is written and read --------------------------------------------------------------------------------------


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text with a NUL character")
    return text


def _plain(value: Any) -> Any:
    """JSON that both databases store: no NUL in any text, no number beyond all floats."""
    if isinstance(value, str):
        return _no_nul(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _plain(item)
    return value


Text = Annotated[str, AfterValidator(_no_nul)]
Name = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_no_nul)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Uid = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Big = Annotated[int, Field(ge=0, lt=2**63)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Object = Annotated[dict[str, Any], AfterValidator(_plain)]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class File(Form):
    sha256: Digest
    bytes: Big


class Manifest(Form):
    """`as_of`: when the newest run of the bundle was finished; there is no time of export, so that equal runs make equal bundles."""

    schema_: Annotated[str, Field(alias="schema")]
    arena: Name
    as_of: Big
    files: dict[str, File]


class MetricForm(Form):
    name: Name
    unit: Text
    direction: int
    role: Name
    threshold: Real | None
    scale: Real | None


class TaskForm(Form):
    name: Name
    domain: Name
    tier: Name
    digest: Digest
    n_scenarios: Count
    headline: Name
    normalise: Name
    floor: Real
    config: Object
    metrics: list[MetricForm]


class AgentForm(Form):
    """digest: `content_of` the other fields. The card is a file of its own, `cards/UID.md`, if there is one."""

    uid: Uid
    name: Name
    version: Annotated[int, Field(ge=1, lt=2**31)]
    nature: Name
    kind: Name
    spec: Object
    digest: Digest
    artifact_digest: Text | None
    domain: Text | None
    tags: list[Text]
    created: Big


class EntryForm(Form):
    """metrics: those measured for this entry, in the order of the rows in measurements.parquet."""

    role: Name
    seat: Annotated[int, Field(ge=-1, lt=2**31)]
    agent: Uid
    candidate: bool
    mode: Text | None
    level: Name
    failures: Count
    decision_ns_total: Big
    decisions: Big
    peak_rss: Big
    metrics: list[Name]


class ChunkForm(Form):
    start: Count
    n: Annotated[int, Field(ge=1, lt=2**31)]
    attempt: Count
    seconds: Real
    recording: Digest | None


class FailureForm(Form):
    entry: Count
    scenario: Count
    step: Count
    code: Name
    detail: Text


class TimingForm(Form):
    """hist: decisions that took [2^i, 2^(i+1)) ns, up to the last bin that counts any."""

    entry: Count
    start: Count
    n: Count
    hist: Annotated[list[Big], Field(max_length=64)]
    usage: Annotated[dict[str, Real], AfterValidator(_plain)] | None


class RunForm(Form):
    uid: Uid
    task: Digest
    environment: Digest
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    ranked: bool
    chunk_size: Annotated[int, Field(ge=1, lt=2**31)]
    config: Object
    created: Big
    started: Big | None
    finished: Big | None
    entries: Annotated[list[EntryForm], Field(min_length=1)]
    chunks: Annotated[list[ChunkForm], Field(min_length=1)]
    failures: list[FailureForm]
    timings: list[TimingForm]


class Runs(Form):
    tasks: Annotated[list[TaskForm], Field(min_length=1)]
    agents: Annotated[list[AgentForm], Field(min_length=1)]
    runs: Annotated[list[RunForm], Field(min_length=1)]


AnyForm = TypeVar("AnyForm", bound=Form)


def written(document: Mapping[str, Any]) -> bytes:
    """A document in its one byte form."""
    return canonical_json(document) + b"\n"


def parsed(content: bytes, what: str) -> dict[str, Any]:
    """The document in the bytes of a file. Raises ArenaError bundle.damaged where they are not the form that `written` gives it."""
    try:
        document = json.loads(content, parse_constant=_refuse)
        if not isinstance(document, dict) or written(document) != content:
            raise ValueError("not in the form in which a bundle writes it")
    except (ValueError, RecursionError, ArenaError) as error:  # UnicodeDecodeError is a ValueError
        raise damaged(what, f"cannot be read: {type(error).__name__}: {error}") from error
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def checked(form: type[AnyForm], document: Mapping[str, Any], what: str) -> AnyForm:
    """The document as its form. Raises ArenaError bundle.damaged naming the first field that is wrong."""
    try:
        return form.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise damaged(what, f"{place}: {first['msg'].lower()}") from error


def damaged(what: str, reason: str) -> ArenaError:
    return ArenaError("bundle.damaged", f"{what}: {reason}", "ask for the bundle again; nothing was imported", file=what)
