"""One OpenAI-compatible endpoint: a question is asked until it is answered, or it is clear that it will not be.

On the package `openai` (extra `llm`), whose own retries are off so that every attempt is seen. What is nobody's fault (a server away, a
wrong key) is an ArenaError of the family `infra`, which leaves a run to be resumed.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arena.adapters.addresses import Place, place_of
from arena.errors import ArenaError

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

DEFAULT_KEY = "OPENAI_API_KEY"
RETRIED = (408, 409, 429)  # and 5xx
RETRIES = 6
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # s
PATIENCE = 120.0  # s: the longest Retry-After that is waited for
SHOWN = 300  # characters of a reply that stand in an error
LONGEST = 16_000_000  # bytes of a reply
MOST_TOKENS = 2**40  # what an answer cannot count: a server that says so does not know
KEYLESS = ("host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length")  # all a server without a key gets
RESUME = "arena resume RUN goes on from here: answers that came are kept"


@dataclass(frozen=True)
class Answer:
    """What a model said. finish: why it stopped (stop, length, ...); estimated: the server counted no tokens, so they are guessed from the text"""

    text: str
    finish: str
    input_tokens: int
    output_tokens: int
    estimated: bool = False


@dataclass(frozen=True)
class Attempt:
    """status: of HTTP, 0 where there was none; reason: why it was no answer, or ""; wait: s before the next one"""

    status: int
    seconds: float
    reason: str = ""
    wait: float = 0.0


class Endpoint:
    """A model behind a URL. Used within one event loop; `close` ends its connections.

    url: https://host[:port]/v1, or http on this machine or network; key_env: name of the environment variable that holds the key. The
    key goes over https or to this machine only, and to this machine only where another variable than the default is named.
    Raises ArenaError `agent.address` for a URL that is none, `infra.key` for a key that is missing.
    """

    def __init__(self, url: str, model: str, key_env: str = DEFAULT_KEY, timeout: float = 60.0, concurrency: int = 16) -> None:
        self.url, self.model, self.key_env, self.timeout, self.concurrency = url.rstrip("/"), model, key_env, timeout, concurrency
        self.place = checked_place(url)
        check_variable(key_env)
        self.local = _is_local(self.place.host)
        self._client: AsyncOpenAI | None = None

    @property
    def key(self) -> str:
        """The key to be sent, "" for none."""
        if key_is_optional(self.place.scheme, self.local) and self.key_env == DEFAULT_KEY:
            return ""
        if not self.local and self.place.scheme == "http":
            raise ArenaError("agent.address", f"{self.place.origin} is not encrypted: no key is sent there", "use https, or leave key_env out")
        value = os.environ.get(self.key_env, "").strip()
        if not value:
            hint = f"the key of {self.url} is read from it: export {self.key_env}=..."
            raise ArenaError("infra.key", f"the environment variable {self.key_env} is not set", hint)
        if not re.fullmatch(r"[!-~]+", value):
            raise ArenaError("infra.key", f"the value of {self.key_env} cannot be sent in a header", "a key is printable ASCII without spaces")
        return value

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    @property
    def client(self) -> AsyncOpenAI:
        if self._client is None:
            key = self.key
            try:
                import httpx2
                from openai import AsyncOpenAI
            except ImportError as error:
                raise ArenaError("infra.extra", f"{error.name} is not installed", "pip install 'arena-bench[llm]'") from error
            transport = httpx2.AsyncClient(
                timeout=httpx2.Timeout(self.timeout, connect=min(self.timeout, 10.0)),
                limits=httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
                follow_redirects=False,
                trust_env=not self.local,  # no proxy stands between this machine and itself
                event_hooks={"request": [] if key else [_without_secrets], "response": [_bounded]},
            )
            self._client = AsyncOpenAI(api_key=key or "none", base_url=self.url, max_retries=0, http_client=transport)
        return self._client

    # ---- asking ------------------------------------------------------------------------------------------------------------

    async def ask(self, body: Mapping[str, Any], pace: Callable[[], Awaitable[None]], log: list[Attempt]) -> Answer:
        """The answer to {"messages", sampling parameters}, with retries; `pace` is awaited before each attempt, `log` gets every one.

        Raises ArenaError infra.key (401, 403), infra.model (404), infra.request (what the server refuses), infra.answer (no chat
        completion), infra.busy, infra.timeout, infra.unreachable (after the last retry).
        """
        _ = self.client  # imports, connects to nothing; raises where package or key are missing
        for retry in range(RETRIES + 1):
            await pace()
            start = time.monotonic()
            try:
                status, answer = 200, await self._attempt(body)
                log.append(Attempt(status, time.monotonic() - start))
                return answer
            except _Failed as failure:
                seconds = time.monotonic() - start
                wait = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**retry)) if failure.retry_after is None else failure.retry_after
                last = retry == RETRIES or not failure.again or wait > PATIENCE
                log.append(Attempt(failure.status, seconds, failure.reason, 0.0 if last else wait))
                if last:
                    raise await self._error(failure, retry + 1, wait) from None
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, body: Mapping[str, Any]) -> Answer:
        """One request. Raises _Failed."""
        client = self.client
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self.timeout):  # of the client's own, each byte would start it anew
                reply = await client.post("/chat/completions", cast_to=httpx2.Response, body={"model": self.model, **body})
        except (TimeoutError, openai.APITimeoutError) as error:
            if type(error.__cause__).__name__ == "ConnectTimeout":
                raise _Failed(0, "no connection in time", True, code="infra.unreachable") from None
            raise _Failed(0, f"no answer in {self.timeout:.3g} s", True, code="infra.timeout") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise _Failed(0, self.hidden(f"{type(cause).__name__}: {cause}"), True, code="infra.unreachable") from None
        except openai.APIStatusError as error:
            raise self._refusal(error.status_code, error.response.content, error.response.headers) from None
        return self._read(reply.content, body)

    def _refusal(self, status: int, content: bytes, headers: Mapping[str, str]) -> _Failed:
        story, kind = _said(content)
        busy = status in RETRIED or status >= 500
        again = busy and kind != "insufficient_quota"
        code = {401: "infra.key", 403: "infra.key", 404: "infra.model"}.get(status, "infra.busy" if busy else "infra.request")
        if 300 <= status < 400:
            story = f"it points elsewhere ({headers.get('location', '')[:100]}); redirects are not followed"
        return _Failed(status, self.hidden(story)[:SHOWN], again, _retry_after(headers) if again else None, code)

    def _read(self, content: bytes, body: Mapping[str, Any]) -> Answer:
        """Raises _Failed `infra.answer` for what is no chat completion, and what a gateway says of a server behind it within a 200."""
        try:
            found = json.loads(content)
            status = _status_within(found)
            if status is not None:
                raise self._refusal(status, content, {})
            choice = found["choices"][0]
            message, finish = choice["message"], str(choice.get("finish_reason") or "")
            text = _text(message.get("content")) or _text(message.get("refusal"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _Failed(200, f"no chat completion: {self.hidden(_said(content)[0])[:SHOWN] or 'nothing'}", False, code="infra.answer") from None
        text, finish = (self.hidden(said.encode("utf-8", "replace").decode()) for said in (text, finish[:SHOWN]))  # half a surrogate pair is no text
        usage = found.get("usage")
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
        known = [count for count in counts if type(count) is int and 0 <= count < MOST_TOKENS]
        if len(known) == 2:
            return Answer(text, finish, known[0], known[1])
        return Answer(text, finish, tokens_in(body["messages"]), guessed_tokens(text), estimated=True)

    async def served(self) -> list[str]:
        """Ids of the models the endpoint lists, [] where it keeps no list. Raises ArenaError as `ask` does, without retries."""
        client = self.client
        import httpx2
        import openai

        try:
            async with asyncio.timeout(min(self.timeout, 10.0)):
                reply = await client.get("/models", cast_to=httpx2.Response)
            rows = json.loads(reply.content)["data"]
            return sorted(self.hidden(str(row["id"]))[:SHOWN] for row in rows)
        except (TimeoutError, openai.APITimeoutError):
            raise await self._error(_Failed(0, "no list of models in 10 s", False, code="infra.timeout"), 1, 0.0) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            story = self.hidden(f"{type(cause).__name__}: {cause}")
            raise await self._error(_Failed(0, story, False, code="infra.unreachable"), 1, 0.0) from None
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise await self._error(self._refusal(error.status_code, error.response.content, error.response.headers), 1, 0.0) from None
            return []
        except (ValueError, LookupError, TypeError, RecursionError, _Failed):  # no list, or one without end
            return []

    # ---- errors ------------------------------------------------------------------------------------------------------------

    async def _error(self, failure: _Failed, attempts: int, wait: float) -> ArenaError:
        """What the user is told."""
        tries = f" in {attempts} attempts" if attempts > 1 else ""
        story, hint = f"{self.url} answered {failure.status}{tries}: {failure.reason}", RESUME
        if failure.code == "infra.unreachable":
            story = f"{self.url} cannot be reached{tries}: {failure.reason}"
            hint = f"is the server up, and the URL right (most end in /v1)? {RESUME}"
        elif failure.code == "infra.timeout":
            story, hint = f"{self.url}: {failure.reason}{tries}", f"a slow model needs a longer chat_timeout (ARENA_CHAT_TIMEOUT, s). {RESUME}"
        elif failure.code == "infra.key":
            hint = f"is the key in {self.key_env} right?" if self.key else "name the variable that holds a key: key_env"
        elif failure.code == "infra.model":
            story = f"{self.url} knows no model {self.model!r} (404): {failure.reason}"
            try:
                models = await self.served()
            except ArenaError:
                models = []
            hint = f"it serves {', '.join(models[:20])}" if models else "it lists no models: is the URL right (most end in /v1)?"
        elif failure.code == "infra.answer":
            story, hint = f"{self.url} answered with {failure.reason}", "is the URL that of an OpenAI-compatible endpoint (most end in /v1)?"
        elif failure.code == "infra.request":
            hint = "give token_field=max_completion_tokens" if "max_completion_tokens" in failure.reason else "the model refuses these parameters"
            hint = "give the URL it points to as endpoint" if 300 <= failure.status < 400 else hint
        elif wait > PATIENCE:
            hint = f"it asks to wait {wait:.0f} s. {RESUME}"
        return ArenaError(failure.code, story, hint, status=failure.status, attempts=attempts)

    def hidden(self, text: str) -> str:
        """A server's words without the key."""
        secret = os.environ.get(self.key_env, "").strip()
        return text.replace(secret, "***") if secret else text


class _Failed(Exception):
    """An attempt without an answer. again: another may bring one; retry_after: s the server asks for"""

    def __init__(self, status: int, reason: str, again: bool, retry_after: float | None = None, code: str = "infra.busy") -> None:
        super().__init__(reason)
        self.status, self.reason, self.again, self.retry_after, self.code = status, reason, again, retry_after, code


def checked_place(url: str) -> Place:
    """The parts of an endpoint's URL. Raises ArenaError `agent.address`; a login within the URL is refused and never shown."""
    try:
        return place_of(url)
    except ArenaError as error:
        raise ArenaError(error.code, error.message, "write https://host[:port]/v1; a key belongs into an environment variable: key_env") from None


def check_variable(name: str) -> None:
    """Raises ArenaError `infra.key` for what cannot be the name of a variable, without showing it: it may be the key itself."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ArenaError("infra.key", "key_env is no name of an environment variable", "export KEY_NAME=... and give key_env=KEY_NAME, never the key")


def key_is_optional(scheme: str, local: bool) -> bool:
    return local or scheme == "http"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _bounded(response: httpx2.Response) -> None:
    """A reply that does not end fills no memory: raises _Failed `infra.answer` behind LONGEST bytes."""
    import httpx2

    whole = response.stream

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = LONGEST
            async with aclosing(aiter(whole)) as parts:  # type: ignore[arg-type, type-var]
                async for part in parts:
                    left -= len(part)
                    if left < 0:
                        raise _Failed(response.status_code, f"more than {LONGEST // 1_000_000} MB", False, code="infra.answer")
                    yield part

        async def aclose(self) -> None:
            await whole.aclose()  # type: ignore[union-attr]

    response.stream = Bounded()


async def _without_secrets(request: httpx2.Request) -> None:
    """The package adds headers from the user's environment (key, organisation, own ones): none of them goes to a server without a key."""
    for name in list(request.headers):
        if name not in KEYLESS:
            del request.headers[name]


def _text(content: Any) -> str:
    """What a message holds: text, or a list of parts of which some are text."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _status_within(found: Any) -> int | None:
    """The status of an error that came as {"error": {"code": 429, ...}} where an answer should be."""
    error = found.get("error") if isinstance(found, dict) and not found.get("choices") else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int and 400 <= code < 600 else None


def _said(content: bytes) -> tuple[str, str]:
    """What an error's body says, in one line, and its machine-readable kind."""
    text = content[:100_000].decode("utf-8", "replace")
    try:
        error = json.loads(text)
        error = error.get("error", error)
        error = error if isinstance(error, dict) else {"message": error}
        return " ".join(str(error.get("message") or text).split()), str(error.get("code") or error.get("type") or "")
    except (ValueError, AttributeError, RecursionError):
        return " ".join(text.split()), ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait: `retry-after-ms`, `Retry-After` as seconds or as a date."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            return max(0.0, float(text) * scale)
        except ValueError:
            pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def guessed_tokens(text: str) -> int:
    """About four characters make a token of English."""
    return -(-len(text) // 4)


def tokens_in(messages: Any) -> int:
    """A guess of what a prompt counts; chat templates add a few tokens per message."""
    return sum(4 + guessed_tokens(str(message["content"])) for message in messages)
