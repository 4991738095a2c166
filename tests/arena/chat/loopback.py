"""A chat endpoint on this machine that does what it is told: answers of every kind, and every failure a real one has.

`python loopback.py LATENCY` serves in a process of its own (for benchmarks) and prints its URL.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = Mapping[str, Any]
Reply = Callable[["Handler", Body], None]


def completion(text: str | None, usage: bool = True, finish: str = "stop", prompt_tokens: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "toy",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
    }  # fmt: skip
    if usage:
        found["usage"] = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2}
    return found


def says(text: str | None, **more: Any) -> Reply:
    """A fixed answer."""
    return lambda handler, body: handler.send(200, completion(text, **more))


def answers(function: Callable[[str], str]) -> Reply:
    """An answer made from the last message."""
    return lambda handler, body: handler.send(200, completion(function(body["messages"][-1]["content"])))


def refuses(status: int, message: str = "no", headers: Mapping[str, str] | None = None, kind: str = "") -> Reply:
    return lambda handler, body: handler.send(status, {"error": {"message": message, "code": kind}}, headers)


def slow(seconds: float, then: Reply) -> Reply:
    def reply(handler: Handler, body: Body) -> None:
        time.sleep(seconds)
        then(handler, body)

    return reply


def drips(seconds: float) -> Reply:
    """A byte now and then: no pause is long, the whole is."""

    def reply(handler: Handler, body: Body) -> None:
        handler.head(200, 1000)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handler.wfile.write(b" ")
            time.sleep(0.02)

    return reply


def raw(content: bytes, status: int = 200, media: str = "application/json") -> Reply:
    def reply(handler: Handler, body: Body) -> None:
        handler.head(status, len(content), {"Content-Type": media})
        handler.wfile.write(content)

    return reply


def truncated(handler: Handler, body: Body) -> None:
    """It promises more than it sends."""
    handler.head(200, 5000)
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def first(*replies: Reply) -> Reply:
    """One reply after the other; the last one from then on."""
    left, lock = list(replies), threading.Lock()

    def reply(handler: Handler, body: Body) -> None:
        with lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(handler, body)

    return reply


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def do_GET(self) -> None:
        if self.server.models is None:
            return self.send(404, {"error": {"message": "no such page"}})
        if callable(self.server.models):
            return self.server.models(self, {})
        self.send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.paths.append(self.path)
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            server.reply(self, body)
        finally:
            with server.lock:
                server.now -= 1

    def head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.head(status, len(content), headers)
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class Loopback(ThreadingHTTPServer):
    """reply: what it does with a question; models: the ids it lists, None for no list; bodies, headers, paths: of all questions; most: at once"""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply: Reply = reply or says("J")
        self.models: Any = ["toy"]
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    served = Loopback(slow(float(sys.argv[1]), says("J")))
    print(served.url, flush=True)
    sys.stdin.read()  # until whoever started it closes the pipe
