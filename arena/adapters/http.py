"""Agents behind a URL: the server is the agent, this the client (protocol version 1: arena/adapters/openapi.json, docs/agents.md).

Only rows that are live are sent. One answer per request, told by its number; what comes late is never read. A server is allowed the time any
agent is allowed: b * act_s for b rows, the excess from a bank of bank_s per scenario.
"""

from __future__ import annotations

import fnmatch
import os
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from arena.adapters.addresses import place_of
from arena.adapters.fitting import fit
from arena.adapters.http_connection import Connection, Reply
from arena.adapters.http_wire import MEDIA, PROTOCOL, About, Encoding, Violation, answer, decode, encode, parse
from arena.adapters.space_documents import space_document
from arena.agent import Agent, Brief, Observation
from arena.errors import ArenaError
from arena.isolation.limits import Limits
from arena.task import TaskView

SHOWN = 300  # characters of a reply that stand in an error


class HttpAgent(Agent):
    """An agent that answers over HTTP.

    url: https://host[:port][/path]; token_env: name of the environment variable that holds a bearer token, never the token
    allow_private: the server may be on this machine or in its network; encoding: "json" for servers made by hand
    Raises ArenaError `agent.address` for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        token_env: str | None = None,
        allow_private: bool = False,
        encoding: Encoding = "msgpack",
        mode: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.url, self.encoding, self.mode, self.limits = url.rstrip("/"), encoding, mode, limits or Limits()
        self.token_env = token_env
        self.connection = Connection(place_of(url), token_env, allow_private)
        self.bank = 0.0

    # ---- the contract ------------------------------------------------------------------------------------------------------

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.incompatible` for a server that speaks otherwise or does not play this task; also where it cannot be reached."""
        try:
            about = self.about
        except ArenaError as error:
            if error.code != "agent.crash":
                raise
            raise ArenaError("agent.incompatible", error.message, error.hint or "docs/agents.md has the protocol and a server of 40 lines") from error
        roles = [role.name for role in task.domain.roles]
        if about.protocol != PROTOCOL:
            self._misfit(f"speaks protocol {about.protocol}, this client {PROTOCOL}")
        if not set(roles) & set(about.roles):
            self._misfit(f"plays {', '.join(about.roles) or 'nothing'}; {task.id} has the roles {', '.join(roles)}")
        if not any(fnmatch.fnmatch(task.id, pattern) for pattern in about.tasks):
            self._misfit(f"plays the tasks {', '.join(about.tasks) or 'none'}, not {task.id}")
        fit(task, self.mode, f"{about.name} at {self.url}", lambda mode: None)

    def begin(self, brief: Brief) -> None:
        self.bank = 0.0
        if brief.role not in self.about.roles:
            self._misfit(f"plays {', '.join(self.about.roles)}, not {brief.role}")
        self.session, self.seq, self.step, self.space = uuid.uuid4().hex, 0, 0, brief.action_space
        self.ids = brief.scenario.numpy(force=True)
        self.entries = {name: space for name, space in brief.observation_space.spaces.items() if name != "action_mask"}
        self.bank = self.limits.bank_s * len(brief)
        message = {
            "session": self.session, "task": brief.task.id, "role": brief.role, "observation_space": space_document(spaces.Dict(self.entries)),
            "action_space": space_document(brief.action_space), "horizon": brief.horizon, "batch": len(brief), "seed": brief.seed,
        }  # fmt: skip
        self._post("/begin", message, self.limits.begin_s)

    def act(self, obs: Observation) -> Any:
        live = obs["live"].numpy(force=True)
        rows = np.flatnonzero(live)
        seen = {name: obs[name].numpy(force=True) for name in self.entries}
        if len(rows) < len(live):
            seen = {name: value[rows] for name, value in seen.items()}
        mask = obs["action_mask"].numpy(force=True)[rows] if "action_mask" in obs else None
        allowed, parts = len(rows) * self.limits.act_s, []
        for start in range(0, len(rows), self.about.max_batch):
            piece = slice(start, start + self.about.max_batch)
            message = {
                "session": self.session, "seq": self.seq, "step": self.step, "scenario": self.ids[rows[piece]].tolist(),
                "obs": {name: value[piece] for name, value in seen.items()}, "mask": None if mask is None else mask[piece],
            }  # fmt: skip
            reply = self._post("/act", message, allowed)
            allowed = max(0.0, allowed - reply.seconds)
            parts.append((rows[piece], self._action(reply)))
            self.seq += 1
        self.step += 1
        return _whole(parts, len(live), self.space)

    def end(self) -> None:
        self._post("/end", {"session": self.session}, self.limits.begin_s)

    def close(self) -> None:
        self.connection.close()

    @cached_property
    def about(self) -> About:
        """What the server says of itself, asked once."""
        reply = self._ask("GET", "/about", b"", self.limits.begin_s)
        try:
            self._expect(reply, 200)
            about: About = parse(About, decode(reply.body, self.encoding))
        except Violation as error:
            raise self._crash("GET /about", reply, error) from error
        return about

    # ---- requests ----------------------------------------------------------------------------------------------------------

    def _action(self, reply: Reply) -> Any:
        try:
            self._expect(reply, 200)
            seq, action = answer(reply.body, self.encoding, self.space)
            if seq != self.seq:
                raise Violation(f"it answers request {seq}, asked was {self.seq}")
        except Violation as error:
            raise self._crash("POST /act", reply, error) from error
        return action

    def _post(self, path: str, message: Mapping[str, Any], allowed: float) -> Reply:
        reply = self._ask("POST", path, encode(message, self.encoding), allowed)
        if path != "/act":
            try:
                self._expect(reply, 204)
            except Violation as error:
                raise self._crash(f"POST {path}", reply, error) from error
        return reply

    def _ask(self, method: str, path: str, body: bytes, allowed: float) -> Reply:
        """One request within `allowed` seconds and what the bank still holds, from which the excess is taken."""
        try:
            reply = self.connection.ask(method, path, allowed + self.bank, MEDIA[self.encoding], body)
        except Violation as error:
            raise ArenaError("agent.crash", f"{self.url}{path}: {error}") from error
        self.bank -= max(0.0, reply.seconds - allowed)
        return reply

    def _expect(self, reply: Reply, status: int) -> None:
        """Raises Violation for another status, and for a body in another encoding."""
        if 300 <= reply.status < 400:
            raise Violation(f"it points elsewhere ({self._hidden(reply.location)[:100]!r}); redirects are not followed")
        if reply.status != status:
            raise Violation(f"expected status {status}")
        if status == 200 and reply.media != MEDIA[self.encoding]:
            raise Violation(f"it is {reply.media or 'of no type'}, expected {MEDIA[self.encoding]}")

    def _crash(self, asked: str, reply: Reply, error: Violation) -> ArenaError:
        """`agent.crash` with the status and the beginning of the body."""
        text = self._hidden(" ".join(reply.body[:100_000].decode("utf-8", "replace").split()))[:SHOWN]
        hint = ""
        if reply.status == 200 and (other := next((name for name, media in MEDIA.items() if media == reply.media != MEDIA[self.encoding]), None)):
            hint = f"give encoding={other}"
        elif reply.status in (401, 403):
            hint = f"is the token in {self.token_env} right?" if self.token_env else "name the environment variable that holds its token: token_env"
        body = f": {text}" if text and reply.media != MEDIA["msgpack"] and not hint.startswith("give") else ""
        story = f"{self.url} answered {asked} with status {reply.status}, but {self._hidden(str(error))}{body}"
        return ArenaError("agent.crash", story, hint, status=reply.status)

    def _hidden(self, text: str) -> str:
        """What a server said, without the token."""
        secret = os.environ.get(self.token_env, "").strip() if self.token_env else ""
        return text.replace(secret, "***") if secret else text

    def _misfit(self, reason: str) -> None:
        raise ArenaError("agent.incompatible", f"{self.about.name} at {self.url} {reason}", "GET /about says what the server plays")


def _whole(parts: list[tuple[Any, Any]], size: int, space: spaces.Space[Any]) -> Any:
    """The answers of some rows as an answer for all `size` rows; zeros stand in those that were not asked about.

    What does not hold one action per row comes out in a form that the judge refuses for these rows.
    """
    arrays = [action for rows, action in parts if isinstance(action, np.ndarray) and action.shape[:1] == (len(rows),)]
    if len(arrays) == len(parts) and len({(array.shape[1:], array.dtype) for array in arrays}) == 1:
        whole = np.zeros((size, *arrays[0].shape[1:]), arrays[0].dtype)
        for rows, action in parts:
            whole[rows] = action
        return whole
    first = parts[0][1]
    if len(parts) == 1 and isinstance(first, np.ndarray) and first.shape[:1] != (size,):
        return first
    listed: list[Any] = [np.zeros(space.shape or (), space.dtype)] * size
    for rows, action in parts:
        fits = (isinstance(action, list) or action.ndim > 0) and len(action) == len(rows)
        for place, row in enumerate(rows.tolist()):
            listed[row] = action[place] if fits else np.asarray(None if isinstance(action, list) else action)
    return listed
