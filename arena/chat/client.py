"""Many questions at once: what is kept is not asked again, what is asked twice is sent once, what is sent is counted against the budget."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from arena.chat.cache import Cache, key_of
from arena.chat.database import unkept
from arena.chat.endpoint import Answer, Attempt, Endpoint, tokens_in
from arena.chat.options import Options
from arena.chat.transcripts import Call, Place, Spent, Transcript
from arena.errors import ArenaError

T = TypeVar("T")
NOTICED = 0.1  # s until a question that waits for its turn sees that the batch has stopped
EMPTY = 12  # empty answers, and not one that is not, after which a model is not asked any more


@dataclass(frozen=True)
class Question:
    """body: {"messages", sampling parameters}, as the endpoint takes it; sample: tells repeats of a question apart that shall be asked anew"""

    place: Place
    body: Mapping[str, Any]
    sample: str = ""


class Background:
    """An event loop in a thread of its own, so that whoever calls may have one, too (notebooks, workers)."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="chat", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives or raises. Ctrl-C ends it: nothing goes on behind the user's back."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def served(endpoint: Endpoint) -> list[str]:
    """Models the endpoint lists, [] where it keeps no list. Raises ArenaError infra.key, infra.unreachable, infra.timeout."""
    background = Background()
    try:
        return background.run(_served(endpoint))
    finally:
        background.close()


async def _served(endpoint: Endpoint) -> list[str]:
    try:
        return await endpoint.served()
    finally:
        await endpoint.close()


class ChatClient:
    """Asks one endpoint on behalf of one run. `version`: of the prompts, a part of the cache's key. `close` it.

    Raises ArenaError `chat.prices`.
    """

    def __init__(self, endpoint: Endpoint, options: Options, cache: Cache, transcript: Transcript, version: str = "") -> None:
        self.endpoint, self.options, self.cache, self.transcript, self.version = endpoint, options, cache, transcript, version
        self.price = options.price(endpoint.model)
        self.background = Background()
        self.loop = self.background.loop
        self.slots = asyncio.Semaphore(options.concurrency)
        self.changed = asyncio.Event()  # something was paid or given up: whoever waits for the budget looks again
        self.flights: dict[str, asyncio.Task[Call]] = {}
        self.asked: set[str] = set()  # keys answered in this client's life, which `refresh` does not ask again
        self.spent = transcript.spent
        self.held = Spent(0, 0, 0, 0.0)  # what the questions under way may cost at most
        self.due = 0.0  # when the next request may go, by the loop's clock
        self.empty = 0  # live answers that were empty, as long as all were
        self.fault: ArenaError | None = None

    def complete(self, questions: Sequence[Question]) -> list[Call]:
        """The answers, in the questions' order. Blocks.

        Raises ArenaError run.budget, run.cache (a miss in mode `only`), infra.* as Endpoint.ask does, infra.empty, infra.disk. Questions under
        way are then still waited for and kept; no further one is sent.
        """
        return self.background.run(self._all(questions))

    def close(self) -> None:
        if not self.loop.is_closed():
            self.background.run(self.endpoint.close())
            self.background.close()
            self.cache.close()
            self.transcript.close()

    # ---- in the loop ---------------------------------------------------------------------------------------------------------

    async def _all(self, questions: Sequence[Question]) -> list[Call]:
        self.fault = None
        found = await asyncio.gather(*(self._one(question) for question in questions), return_exceptions=True)
        calls = [call for call in found if isinstance(call, Call)]
        self.transcript.add(call for call in calls if call.source != "live")
        broken = [error for error in found if isinstance(error, BaseException) and error is not self.fault]
        for error in broken:
            if isinstance(error, sqlite3.Error):
                raise unkept(error)
        if self.fault is not None or broken:
            raise self.fault or broken[0]
        return calls

    async def _one(self, question: Question) -> Call:
        key = key_of(self.endpoint.model, question.body, question.sample, self.version)
        mode = self.options.cache
        if (mode != "refresh" or key in self.asked) and (answer := self.cache.get(key)) is not None:
            return self._call(question, key, "cache", answer)
        if mode == "only":
            head = str(question.body["messages"][-1]["content"])[:200]
            hint = "let it be asked once: chat_cache=use (ARENA_CHAT_CACHE)"
            raise self._stop(ArenaError("run.cache", f"no answer of {self.endpoint.model} is kept under {key}: {head!r}", hint, key=key))
        flight = self.flights.get(key)
        if flight is not None:
            call = await asyncio.shield(flight)
            free = None if call.money is None else 0.0
            return replace(call, place=question.place, source="shared", attempts=(), seconds=0.0, input_tokens=0, output_tokens=0, money=free)
        flight = self.flights[key] = asyncio.ensure_future(self._live(question, key))
        try:
            return await flight
        finally:
            self.flights.pop(key, None)

    async def _live(self, question: Question, key: str) -> Call:
        async with self.slots:
            need = self._need(question.body)
            await self._afford(need)
            log: list[Attempt] = []
            try:
                answer = await self.endpoint.ask(question.body, self._pace, log)
            except ArenaError as error:
                failed = Call(question.place, key, "failed", question.body["messages"], "", attempts=log, error=error.message)
                self.transcript.add([failed])
                raise self._stop(error) from None
            finally:
                self._hold(need, -1)
                self.changed.set()
            call = replace(self._call(question, key, "live", answer), attempts=log, seconds=sum(attempt.seconds + attempt.wait for attempt in log))
            try:
                self.cache.put(key, self.endpoint.model, answer)
                self.asked.add(key)
                self.spent = self.transcript.pay(call)
            except (sqlite3.Error, ArenaError) as error:
                raise self._stop(unkept(error) if isinstance(error, sqlite3.Error) else error) from error
            self._look(answer)
            return call

    def _call(self, question: Question, key: str, source: Any, answer: Answer) -> Call:
        money = None if self.price is None else self.price.of(answer.input_tokens, answer.output_tokens)
        return Call(
            question.place, key, source, question.body["messages"], answer.text, answer.finish, (), 0.0, answer.input_tokens,
            answer.output_tokens, answer.estimated, money,
        )  # fmt: skip

    async def _pace(self) -> None:
        """Wait for the turn of one request, where there is a limit per minute. Raises the error that has stopped the batch meanwhile."""
        if self.fault is not None:
            raise self.fault
        if self.options.per_minute is not None:
            turn = max(self.loop.time(), self.due)
            self.due = turn + 60.0 / self.options.per_minute
            while self.fault is None and (left := turn - self.loop.time()) > 0:
                await asyncio.sleep(min(left, NOTICED))
            if self.fault is not None:
                self.due = 0.0  # nobody goes at this turn, nor at those behind it
                raise self.fault

    def _stop(self, error: ArenaError) -> ArenaError:
        """The first error is the one that is told."""
        self.fault = self.fault or error
        self.changed.set()
        return self.fault

    def _look(self, answer: Answer) -> None:
        """Raises ArenaError `infra.empty` for a model that says nothing at all: paying for more of it would be no use."""
        if answer.text.strip():
            self.empty = -1
        elif self.empty >= 0:
            self.empty += 1
        if self.empty >= EMPTY:
            hint = "a reasoning model thinks first: give max_tokens=4000" if answer.finish == "length" else "is it a chat model?"
            story = f"{self.endpoint.model} answered nothing in {self.empty} of {self.empty} calls (finish_reason {answer.finish or 'not given'})"
            raise self._stop(ArenaError("infra.empty", story, hint))

    # ---- budget --------------------------------------------------------------------------------------------------------------

    def _need(self, body: Mapping[str, Any]) -> Spent:
        """What a question may cost at most; its prompt is guessed a third above what its length suggests."""
        prompt = -(-4 * tokens_in(body["messages"]) // 3)
        answer = int(body.get("max_tokens") or body.get("max_completion_tokens") or 0)
        return Spent(1, prompt, answer, 0.0 if self.price is None else self.price.of(prompt, answer))

    def _hold(self, need: Spent, sign: int) -> None:
        held = self.held
        self.held = Spent(
            held.calls + sign * need.calls, held.input_tokens + sign * need.input_tokens, held.output_tokens + sign * need.output_tokens,
            held.money + sign * need.money,
        )  # fmt: skip

    async def _afford(self, need: Spent) -> None:
        """Hold what a question may cost. It waits while questions under way may yet cost less than is held for them.

        Raises ArenaError `run.budget` where the budget of the run does not allow it; the error that stopped this batch, if one did.
        """
        while True:
            if self.fault is not None:
                raise self.fault
            over = self._over(need)
            if over is None:
                return self._hold(need, 1)
            if self.held.calls == 0:
                raise self._stop(over)
            self.changed.clear()
            await self.changed.wait()

    def _over(self, need: Spent) -> ArenaError | None:
        options, spent, held = self.options, self.spent, self.held
        for name, cap, used, more in (
            ("tokens", options.tokens, spent.tokens, held.tokens + need.tokens),
            ("money", options.money, spent.money, held.money + need.money),
        ):
            if cap is not None and used + more > cap:
                story = f"the budget of this run, {cap:,.6g} {name}, is spent: {used:,.6g} used, and a question may take {more:,.6g}"
                hint = f"the answers are kept; raise chat_{name} (ARENA_CHAT_{name.upper()}) and continue with arena resume RUN"
                return ArenaError("run.budget", story, hint, cap=cap, used=used)
        return None
