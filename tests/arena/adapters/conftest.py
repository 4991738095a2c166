"""What the tests of all adapters share."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgpack
import numpy as np
import pytest
import torch

from arena.rollout import players, rollout

MEDIA = {"json": "application/json", "msgpack": "application/msgpack"}


@pytest.fixture
def played():
    """`played(task, {role: agent}, rows)` -> the episodes of test scenarios `rows` (all by default)."""

    def play(task, agents, rows=None, seed=0):
        rows = range(task.n) if rows is None else rows
        ids = torch.tensor(list(rows))
        return rollout(task.domain, task.sample("test", rows), players(task.domain, agents), task=task.view, ids=ids, seed=seed)

    return play


class Server(ThreadingHTTPServer):
    """A server in this process that knows both encodings. `about` and `replies` say what it answers:

    replies: path -> (message, handler) -> the answer's document, or None where it has replied through the handler itself
    It keeps every message and answer in `exchanged`, every request's headers in `headers` and counts its connections.
    """

    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.about = {"protocol": 1, "name": "toy", "version": "1", "roles": ["walker"], "tasks": ["walk/*"], "max_batch": 1000}
        self.replies, self.exchanged, self.headers, self.connections = {}, [], [], 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that break off are part of the tests."""

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve({}, self.headers["Accept"])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        media = self.headers["Content-Type"]
        self.serve(json.loads(body) if media == MEDIA["json"] else msgpack.unpackb(body), media)

    def serve(self, message, media):
        server, self.media = self.server, media
        server.headers.append(dict(self.headers))
        usual = {"/about": lambda *_: server.about, "/act": lambda message, _: {"seq": message["seq"], "action": right(message)}}
        answer = server.replies.get(self.path, usual.get(self.path, lambda *_: {}))(message, self)
        server.exchanged.append((self.path, media, message, answer))
        if answer is not None:
            self.answer(answer)

    def answer(self, document):
        body = json.dumps(document).encode() if self.media == MEDIA["json"] else msgpack.packb(document, default=packed)
        self.send(204 if self.path in ("/begin", "/end") else 200, b"" if self.path in ("/begin", "/end") else body)

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": self.media, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


def packed(array):
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def right(message):
    """Walk right, in the form of the message."""
    n = len(message["scenario"])
    return [2] * n if isinstance(message["obs"]["place"], list) else np.full(n, 2)


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def make_server():
    """`make_server(tls)` for tests that need more than one."""
    made = []

    def make(tls=None):
        made.append(Server(tls))
        return made[-1]

    yield make
    for one in made:
        one.stop()
