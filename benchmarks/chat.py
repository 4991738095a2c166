"""What our client of language models adds to the bare package `openai`: CPU per call, and the rate at a concurrency.

    python -m benchmarks.chat [--calls 600] [--latency 0.05] [--concurrency 32]

A server in a process of its own answers after the latency. Bare: AsyncOpenAI.chat.completions.create under a semaphore, nothing kept. Ours:
the same questions with cache, budget, transcript and retries. Both in this process and in turns, the middle of the rounds; CPU is this process's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from agents.repeated_games import prompts
from arena.chat.cache import Cache
from arena.chat.client import ChatClient, Question
from arena.chat.endpoint import Endpoint
from arena.chat.options import Options, Price
from arena.chat.transcripts import Place, Transcript

SERVER = Path(__file__).parents[1] / "tests" / "arena" / "chat" / "loopback.py"
PAYOFFS = (((8.0, 8.0), (0.0, 10.0)), ((10.0, 0.0), (5.0, 5.0)))
LIMIT_MS, LIMIT_SHARE = 3.0, 0.7


def bodies(calls: int, first: int) -> list[dict[str, Any]]:
    """Prompts as they are in the sixth round of a match; each is another text."""
    found = []
    for number in range(first, first + calls):
        view = prompts.View((0, 1, 0, 0, 1), (1, 0, 0, 1, 1), 10, PAYOFFS, ("J", "F"), number % 2)
        found.append(
            {"messages": prompts.as_user(f"Match {number}.", prompts.told(view), prompts.question(view)), "temperature": 0, "max_tokens": 16}
        )
    return found


async def bare(url: str, asked: list[dict[str, Any]], concurrency: int) -> None:
    import httpx2
    from openai import AsyncOpenAI

    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    slots = asyncio.Semaphore(concurrency)
    async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=httpx2.AsyncClient(limits=limits, trust_env=False)) as client:

        async def one(body: dict[str, Any]) -> None:
            async with slots:
                await client.chat.completions.create(model="toy", **body)

        await one(asked[0])  # connects, imports
        await asyncio.gather(*(one(body) for body in asked))


def measured(work: Any) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - wall, process_time() - cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.05, help="of the server, s")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        del os.environ[name]
    figures: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([sys.executable, str(SERVER), str(given.latency)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdin is not None and server.stdout is not None
        url = server.stdout.readline().strip()
        client = ChatClient(
            Endpoint(url, "toy", concurrency=given.concurrency),
            Options(concurrency=given.concurrency, tokens=1e9, money=1e6, prices={"toy": Price(1.0, 1.0)}),
            Cache(Path(folder) / "answers.sqlite"),
            Transcript(Path(folder) / "run.sqlite"),
        )
        try:
            client.complete([Question(Place(-1, 0), {"messages": [{"role": "user", "content": "warm up"}]})])
            for round_ in range(given.rounds):
                asked = bodies(given.calls, round_ * given.calls)
                figures["bare"].append(measured(lambda asked=asked: asyncio.run(bare(url, asked, given.concurrency))))  # type: ignore[misc]
                questions = [Question(Place(round_ * given.calls + i, 0), body) for i, body in enumerate(asked)]
                figures["ours"].append(measured(lambda questions=questions: client.complete(questions)))  # type: ignore[misc]
                figures["kept"].append(measured(lambda questions=questions: client.complete(questions)))  # type: ignore[misc]
        finally:
            client.close()
            server.stdin.close()
            server.wait()
    ceiling = given.concurrency / given.latency
    print(f"{given.calls} calls, {given.latency * 1000:.0f} ms latency, {given.concurrency} at once: {ceiling:.0f} calls/s at most")
    for name, rows in figures.items():
        wall, cpu = (median(row[i] for row in rows) / given.calls for i in (0, 1))
        print(f"{name:5} {1 / wall:9.0f} calls/s {1000 * cpu:8.2f} ms CPU per call")
    share = median(b[0] / o[0] for b, o in zip(figures["bare"], figures["ours"], strict=True))
    spent = 1000 * median(row[1] for row in figures["ours"]) / given.calls
    print(f"rate of ours / bare: {share:.2f} (target {LIMIT_SHARE}); CPU per call {spent:.2f} ms (target {LIMIT_MS})")
    return 0 if share >= LIMIT_SHARE and spent <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
