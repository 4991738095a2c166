"""What it costs to ask an agent: one call of `act` for 256 scenarios of 64 float32 each, by the way it is reached.

    python -m benchmarks.agents

The agent answers the first number of each row, so what is measured is the way there and back. Median of wall time, one thread. A row of the
table is an entry of `ROWS`: its name and a context that gives the agent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import msgpack
import numpy as np
import torch
from gymnasium import spaces

from arena import registry
from arena.adapters.http import HttpAgent
from arena.adapters.onnx import OnnxAgent
from arena.agent import Agent, Brief
from arena.domain import Domain, Mode, Role
from arena.isolation import Isolated
from arena.task import TaskView

SCENARIOS, WIDTH = 256, 64


class First(Agent):
    """The action is the first number."""

    def act(self, obs: Any) -> torch.Tensor:
        return obs["x"][:, 0]


class Bare(Domain):
    """Spaces and nothing else: no step is ever made."""

    name = "bare"
    horizon = 1_000_000

    def __init__(self) -> None:
        seen = spaces.Dict({"x": spaces.Box(-1, 1, (WIDTH,), np.float32)})
        self.roles = (Role("one", (Mode("plain", seen, spaces.Box(-1, 1, (), np.float32)),)),)


def brief() -> Brief:
    domain = Bare()
    mode = domain.roles[0].modes[0]
    view = TaskView("bare/one-v1", domain, {}, lambda split, indices: None)  # type: ignore[arg-type,return-value]
    ids = torch.arange(SCENARIOS)
    return Brief(view, "one", mode.name, mode.observation_space, mode.action_space, domain.horizon, ids, torch.device("cpu"), 0)


# ---- the ways ----------------------------------------------------------------------------------------------------------------


@contextmanager
def in_process() -> Iterator[Agent]:
    yield First()


class Elsewhere(Isolated):
    """`First` in a process of its own. That process loads a task by name; which one does not matter, for the agent never looks at it."""

    def begin(self, brief: Brief) -> None:
        super().begin(replace(brief, task=registry.task("bidding/tiny-v1").view, role="bidder", mode="impression"))


@contextmanager
def isolated() -> Iterator[Agent]:
    source = {"kind": "target", "target": "benchmarks.agents:First", "path": str(Path(__file__).parents[1]), "parameters": {}, "label": "first"}
    agent = Elsewhere(source, "first")
    try:
        yield agent
    finally:
        agent.close()


@contextmanager
def onnx() -> Iterator[Agent]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first.onnx"
        model = torch.nn.Linear(WIDTH, 1, bias=False)
        model.weight.data = torch.eye(1, WIDTH)
        shape = {"x": {0: "rows"}}
        torch.onnx.export(model, (torch.zeros(2, WIDTH),), path, input_names=["x"], output_names=["action"], dynamic_axes=shape, dynamo=False)
        yield OnnxAgent(path)


@contextmanager
def http(encoding: Any) -> Iterator[Agent]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.agents", "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        agent = HttpAgent(f"http://127.0.0.1:{port}", allow_private=True, encoding=encoding)
        try:
            yield agent
        finally:
            agent.close()
            server.terminate()


ROWS: dict[str, Callable[[], Any]] = {
    "in process": in_process,
    "its own process, shared memory": isolated,
    "ONNX, a layer of 64, in process": onnx,
    "HTTP, MessagePack": lambda: http("msgpack"),
    "HTTP, JSON": lambda: http("json"),
}


class Server(BaseHTTPRequestHandler):
    """The same agent behind HTTP, in either encoding."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def reply(self, status: int, media: str, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        media = self.headers["Accept"]
        about = {"protocol": 1, "name": "first", "version": "1", "roles": ["one"], "tasks": ["*"], "max_batch": 10_000}
        self.reply(200, media, json.dumps(about).encode() if media.endswith("json") else msgpack.packb(about))

    def do_POST(self) -> None:
        body, media = self.rfile.read(int(self.headers["Content-Length"])), self.headers["Content-Type"]
        if self.path != "/act":
            return self.reply(204, media)
        if media.endswith("json"):
            message = json.loads(body)
            return self.reply(200, media, json.dumps({"seq": message["seq"], "action": [row[0] for row in message["obs"]["x"]]}).encode())
        message = msgpack.unpackb(body)
        sent = message["obs"]["x"]
        first = np.ascontiguousarray(np.frombuffer(sent["data"], sent["dtype"]).reshape(sent["shape"])[:, 0])
        action = {"dtype": first.dtype.str, "shape": list(first.shape), "data": first.tobytes()}
        return self.reply(200, media, msgpack.packb({"seq": message["seq"], "action": action}))


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    print(server.server_port, flush=True)
    server.serve_forever()


# ---- measuring -----------------------------------------------------------------------------------------------------------------


def figures(calls: int = 300) -> dict[str, tuple[float, float]]:
    """name -> seconds per call of `act`: median, and the time that 99 % stay under."""
    found = {}
    told = brief()
    obs = {"x": torch.rand(SCENARIOS, WIDTH) * 2 - 1, "live": torch.ones(SCENARIOS, dtype=torch.bool)}
    for name, way in ROWS.items():
        with way() as agent:
            agent.begin(told)
            times = []
            for call in range(calls + 20):
                start = perf_counter()
                answer = agent.act(obs)
                times.append(perf_counter() - start)
                if not call:
                    assert np.allclose(np.asarray(answer).reshape(-1), obs["x"][:, 0], atol=1e-6), f"{name} answers something else"
            agent.end()
        times = sorted(times[20:])
        found[name] = median(times), times[int(0.99 * len(times))]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        print(f"one call of act, {SCENARIOS} scenarios of {WIDTH} float32         median       99 %")
        for name, (middle, most) in figures().items():
            print(f"{name:54s} {1e3 * middle:7.3f} ms {1e3 * most:7.3f} ms")
