"""HTTP agents against real servers: what is said in both encodings, and every way in which a server can fail."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_domains as toys
from gymnasium import spaces
from jsonschema import Draft202012Validator

from arena.adapters import http_connection, http_wire
from arena.adapters.http import HttpAgent
from arena.adapters.space_documents import space_document, space_of
from arena.agent import Agent
from arena.errors import ArenaError
from arena.isolation.limits import Limits

DOC = Path(__file__).parents[3] / "docs" / "agents.md"
OPENAPI = json.loads((Path(http_wire.__file__).parent / "openapi.json").read_text())
SHORT = Limits(begin_s=2.0, act_s=0.01, bank_s=0.02)
BOTH = pytest.mark.parametrize("encoding", ["msgpack", "json"])


class Right(Agent):
    def act(self, obs):
        return torch.full_like(obs["place"], 2)


def client(server, encoding="msgpack", **more):
    return HttpAgent(server.url, allow_private=True, encoding=encoding, **{"limits": Limits(), **more})


# ---- what is said ------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("max_batch", [1000, 7, 1])
def test_a_server_plays_as_the_same_agent_here(server, played, encoding, max_batch):
    task = toys.walk()
    server.about["max_batch"] = max_batch
    agent = client(server, encoding)
    agent.check(task.view)
    ours, theirs = played(task, {"walker": agent}), played(task, {"walker": Right()})
    agent.close()
    assert not ours.failures and np.array_equal(ours.actions["walker"], theirs.actions["walker"])
    assert server.connections == 1, "the connection is kept"
    acts = [message for path, _, message, _ in server.exchanged if path == "/act"]
    assert [message["seq"] for message in acts] == list(range(len(acts))) and max(len(message["scenario"]) for message in acts) == min(max_batch, 20)
    for step in {message["step"] for message in acts}:  # every live row once
        ids = [i for message in acts if message["step"] == step for i in message["scenario"]]
        assert len(ids) == len(set(ids)) and set(ids) <= set(range(20))
    assert sum(len(message["scenario"]) for message in acts) == ours.timings["walker"].decisions
    assert [path for path, *_ in server.exchanged if path != "/act"] == ["/about", "/begin", "/end"]


@BOTH
def test_messages_are_those_of_the_openapi_file(server, played, encoding):
    agent, task = client(server, encoding), toys.walk()
    agent.check(task.view)
    assert not played(task, {"walker": agent}).failures
    seen = set()
    for path, media, message, answer in server.exchanged:
        operation = next(iter(OPENAPI["paths"][path].values()))
        if message:
            follows(message, operation["requestBody"]["content"][media]["schema"])
        if path in ("/about", "/act"):
            document = answer if encoding == "json" else plain(answer)
            follows(document, operation["responses"]["200"]["content"][media]["schema"])
        seen.add(path)
    assert seen == set(OPENAPI["paths"])
    first = next(message for path, _, message, _ in server.exchanged if path == "/begin")
    assert first["observation_space"] == {"type": "Dict", "spaces": {"place": {"type": "Box", "low": 0, "high": 20, "shape": [], "dtype": "int64"}}}
    assert first["action_space"] == {"type": "Discrete", "n": 3, "start": 0, "shape": [], "dtype": "int64"}


def plain(answer):
    action = answer["action"] if "action" in answer else None
    return answer if action is None else {**answer, "action": {"dtype": action.dtype.str, "shape": list(action.shape), "data": action.tobytes()}}


def follows(document, schema):
    Draft202012Validator({**schema, "components": OPENAPI["components"]}).validate(document)


def test_the_openapi_file_is_one():
    assert OPENAPI["openapi"].startswith("3.1") and set(OPENAPI["paths"]) == {"/about", "/begin", "/act", "/end"}
    schemas = OPENAPI["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        if schema.get("type") == "object" and name not in ("Space",):
            assert schema["additionalProperties"] is False and set(schema["required"]) == set(schema["properties"])
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(OPENAPI)))
    assert used == set(schemas)
    for model, name in ((http_wire.About, "About"), (http_wire.Packed, "Packed"), (http_wire.PlainAnswer, "AnswerPlain")):
        assert set(model.model_fields) == set(schemas[name]["properties"])


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1), spaces.MultiDiscrete([[2, 3], [4, 5]]), spaces.MultiBinary(4), spaces.Box(-np.inf, np.inf, (2,), np.float32),
        spaces.Box(np.array([0, -np.inf]), np.array([1, 2.0]), dtype=np.float64), spaces.Box(0, 255, (2, 2), np.uint8),
        spaces.Dict({"a": spaces.Box(0, 1, (), np.float32), "b": spaces.Dict({"c": spaces.Discrete(2)})}),
    ],
)  # fmt: skip
def test_spaces_are_described(space):
    document = json.loads(json.dumps(space_document(space), allow_nan=False))
    follows(document, {"$ref": "#/components/schemas/Space"})
    assert space_of(document) == space


@pytest.mark.parametrize(
    "document",
    [{}, {"type": "Text"}, {"type": "Box", "shape": [2], "dtype": "float32", "low": [0, 0, 0], "high": 1}, {"type": "Dict", "spaces": [1]},
     {"type": "Discrete", "shape": [], "dtype": "int64", "n": 0, "start": 0}, {"type": "Box", "shape": [], "dtype": "nonsense", "low": 0, "high": 1}],
)  # fmt: skip
def test_what_describes_no_space(document):
    with pytest.raises(ValueError):
        space_of(document)


def test_replies_in_two_pieces_do_not_wait(server, played):
    """Python's own server sends head and body apart; unacknowledged heads would cost 40 ms a call."""
    agent, times = shopkeeper(server), []
    plain = agent._post

    def timed(*words):
        start = time.perf_counter()
        reply = plain(*words)
        times.append(time.perf_counter() - start)
        return reply

    agent._post = timed
    for _ in range(4):
        assert not played(toys.shop(), {"keeper": agent}).failures
    assert len(times) == 24 and np.median(times) < 0.03


def shopkeeper(server):
    server.about |= {"roles": ["keeper"], "tasks": ["shop/*"]}
    server.replies["/act"] = lambda m, h: {"seq": m["seq"], "action": np.full(len(m["scenario"]), 2)}
    return client(server)


@BOTH
def test_floats_survive_both_encodings(server, played, encoding):
    """Numbers that float32 rounds come back as they went; in JSON whole numbers are floats where the space has floats."""
    server.about |= {"roles": ["archer"], "tasks": ["aim/*"]}
    numbers = np.random.default_rng(0).uniform(-1, 1, (3, 10, 2)).astype(np.float32)
    numbers[0, 0] = [1, 0]
    shown = []

    def shoot(message, handler):
        last, shot = message["obs"]["last"], numbers[message["step"]]
        shown.append(np.frombuffer(last["data"], last["dtype"]).reshape(last["shape"]) if encoding == "msgpack" else np.array(last, np.float32))
        as_json = [[int(x) if x == int(x) else x for x in row] for row in shot.tolist()]
        return {"seq": message["seq"], "action": as_json if encoding == "json" else shot.astype("<f8")}

    server.replies["/act"] = shoot
    found = played(toys.aim(), {"archer": client(server, encoding)})
    assert not found.failures and np.array_equal(found.actions["archer"], numbers)
    assert np.array_equal(shown[1:], numbers[:-1])


def test_seats_keep_their_axis(server, played):
    server.about |= {"roles": ["worker"], "tasks": ["village/*"]}

    def work(message, handler):
        shape = message["obs"]["skill"]["shape"]
        assert message["mask"]["shape"] == [*shape, 4] and "action_mask" not in message["obs"]
        return {"seq": message["seq"], "action": np.full(shape, 2)}

    server.replies["/act"] = work
    agent = client(server)
    task = toys.village(("worker",), {"planner": "toy-planner"})
    agent.check(task.view)
    for rows, seats in ((range(3), 2), (range(3, 7), 4)):
        found = played(task, {"worker": agent, "planner": toys.Planner()}, rows)
        assert not found.failures and found.actions["worker"].shape[1:] == (len(rows), seats)


def test_the_server_of_the_docs_plays(played, tiny, tmp_path):
    code = next(block for block in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL) if "ThreadingHTTPServer" in block)
    assert len(code.splitlines()) < 40
    (tmp_path / "server.py").write_text(code)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "server.py", str(port)], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            agent = HttpAgent(f"http://127.0.0.1:{port}", allow_private=True, encoding="json")
            reached(agent)
            agent.check(tiny.view)
            found = played(tiny, {"bidder": agent})
            assert not found.failures and len(np.unique(found.actions["bidder"])) > 10
            with pytest.raises(ArenaError) as error:
                HttpAgent(f"http://127.0.0.1:{port}", allow_private=True).check(tiny.view)
            assert error.value.code == "agent.incompatible" and "encoding=json" in str(error.value)
            # the process dies while it is asked
            agent.begin = lambda brief: (HttpAgent.begin(agent, brief), process.send_signal(signal.SIGKILL), process.wait())
            found = played(tiny, {"bidder": agent})
            assert {failure.code for failure in found.failures} == {"agent.died"} and len(found.failures) == tiny.n
        finally:
            process.kill()


def reached(agent, seconds=20.0):
    """Wait until the server listens."""
    until = time.monotonic() + seconds
    while True:
        try:
            return agent.about
        except ArenaError as error:
            if error.code != "agent.died" or time.monotonic() > until:
                raise
            time.sleep(0.05)


# ---- failures while playing ----------------------------------------------------------------------------------------------------


def answered(message, **changes):
    n = len(message["scenario"])
    return {"seq": message["seq"], "action": np.full(n, 2), **changes}


def sends(status, body=b"", **headers):
    return lambda message, handler: handler.send(status, body, **headers)


def slow(message, handler):
    time.sleep(1.2)  # 20 rows have 20 * (0.01 + 0.02) s
    return answered(message)


def hangs(message, handler):
    handler.server.released.wait(20)


def drips(headers):
    def reply(message, handler):
        """A byte now and then, which no timeout of single reads would end."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if headers else b"Content-Length: 1000\r\n\r\n"))
        for _ in range(60):
            if handler.server.released.wait(0.1):
                return
            handler.wfile.write(b"X")

    return reply


def dies(message, handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/msgpack\r\nContent-Length: 1000\r\n\r\n" + b"half of an answer")
    handler.close_connection = True


def resets(message, handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()
    handler.close_connection = True


def oversized(message, handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/msgpack")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    for _ in range(80):
        handler.wfile.write(piece)
        handler.server.sent += 1


JSON = {"Content_Type": "application/json"}
FAILURES = {
    "slow": ("msgpack", slow, "agent.timeout", "no answer to POST /act in 0."),
    "hanging": ("msgpack", hangs, "agent.timeout", "no answer"),
    "dripping headers": ("msgpack", drips(True), "agent.timeout", "no answer"),
    "dripping body": ("msgpack", drips(False), "agent.timeout", "no answer"),
    "dies mid-answer": ("msgpack", dies, "agent.died", "broke off during POST /act"),
    "resets": ("msgpack", resets, "agent.died", "broke off"),
    "500": ("msgpack", sends(500, b"Trace:\n  boom", Content_Type="text/plain"), "agent.crash", "status 500, but expected status 200: Trace: boom"),
    "404": ("msgpack", sends(404, b"x" * 1000, Content_Type="text/plain"), "agent.crash", "x" * 300),
    "redirect": ("msgpack", sends(302, Location="http://10.0.0.1/steal"), "agent.crash", "points elsewhere ('http://10.0.0.1/steal')"),
    "no content": ("msgpack", sends(204), "agent.crash", "expected status 200"),
    "html": ("msgpack", sends(200, b"<html>", Content_Type="text/html; charset=utf-8"), "agent.crash", "text/html, expected application/msgpack"),
    "oversized": ("msgpack", oversized, "agent.crash", "larger than 64,000,000 bytes"),
    "no http": ("msgpack", lambda m, h: h.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n" * 9), "agent.crash", "no HTTP"),
    "no msgpack": ("msgpack", sends(200, b"\xc1\xc1"), "agent.crash", "no application/msgpack"),
    "two messages": ("msgpack", sends(200, b"\x01\x02"), "agent.crash", "no application/msgpack"),
    "empty": ("msgpack", sends(200), "agent.crash", "no application/msgpack"),
    "bad JSON": ("json", sends(200, b'{"seq": 0, "action": [2, 2'), "agent.crash", "no application/json"),
    "NaN": ("json", sends(200, b'{"seq": 0, "action": [NaN]}'), "agent.crash", "no application/json: expected value"),
    "Infinity": ("json", sends(200, b'{"seq": 0, "action": [-Infinity]}'), "agent.crash", "no application/json: invalid number"),
    "deep JSON": ("json", sends(200, b"[" * 100_000), "agent.crash", "no application/json"),
    "deep msgpack": ("msgpack", sends(200, b"\x91" * 100_000), "agent.crash", "no application/msgpack"),
    "wrong seq": ("msgpack", lambda m, h: answered(m, seq=m["seq"] - 1), "agent.crash", "answers request -1, asked was 0"),
    "seq as text": ("msgpack", lambda m, h: answered(m, seq="0"), "agent.crash", "seq: input should be a valid integer"),
    "no seq": ("json", sends(200, b'{"action": []}'), "agent.crash", "seq: field required"),
    "more fields": ("msgpack", lambda m, h: answered(m, note="hello"), "agent.crash", "note: extra"),
    "a list for an array": ("msgpack", lambda m, h: answered(m, action=[2, 2]), "agent.crash", "action"),
    "object dtype": ("msgpack", lambda m, h: answered(m, action={"dtype": "|O", "shape": [1], "data": bytes(8)}), "agent.crash", "dtype '|O'"),
    "too few bytes": ("msgpack", lambda m, h: answered(m, action={"dtype": "<i8", "shape": [20], "data": bytes(8)}), "agent.crash", "8 bytes for"),
    "negative shape": ("msgpack", lambda m, h: answered(m, action={"dtype": "<i8", "shape": [-1, -1], "data": bytes(8)}), "agent.crash", "shape.0"),
    "endless shape": ("msgpack", lambda m, h: answered(m, action={"dtype": "<i8", "shape": [0, 2**62, 2**62], "data": b""}), "agent.crash", "shape"),
    "wrong shape": ("msgpack", lambda m, h: answered(m, action=np.full((20, 1), 2)), "agent.illegal", "shape (20, 1), expected (20,)"),
    "too few rows": ("msgpack", lambda m, h: answered(m, action=np.full(3, 2)), "agent.illegal", "shape (3,), expected (20,)"),
    "one number": ("msgpack", lambda m, h: answered(m, action=np.array(2)), "agent.illegal", "shape (), expected (20,)"),
    "floats": ("msgpack", lambda m, h: answered(m, action=np.full(20, 2.0)), "agent.illegal", "integers"),
    "JSON floats": ("json", lambda m, h: answered(m, action=[2.5] * 20), "agent.illegal", "integers"),
    "JSON words": ("json", lambda m, h: answered(m, action=["two"] * 20), "agent.illegal", "expected numbers"),
    "JSON null": ("json", lambda m, h: answered(m, action=[None] * 20), "agent.illegal", "expected numbers"),
    "huge number": ("json", lambda m, h: answered(m, action=[10**40] * 20), "agent.illegal", "expected numbers"),
    "outside": ("msgpack", lambda m, h: answered(m, action=np.full(20, 7)), "agent.illegal", "value 7, allowed 2 of the mask: 0, 2"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_every_failure_of_a_server_is_recorded_as_what_it_is(server, played, case):
    encoding, reply, code, words = FAILURES[case]
    server.released, server.sent = threading.Event(), 0
    server.replies["/act"] = reply
    agent = client(server, encoding, limits=SHORT if code == "agent.timeout" else Limits())
    start = time.monotonic()
    found = played(toys.walk(), {"walker": agent})
    server.released.set()
    assert {failure.code for failure in found.failures} == {code} and len(found.failures) == 20
    assert words in found.failures[0].detail
    assert bool(found.crashes) == (code != "agent.illegal")
    assert time.monotonic() - start < 5
    if case == "oversized":
        assert server.sent < 80, "the rest was not read"
    if case == "redirect":
        assert not [headers for headers in server.headers if "10.0.0.1" in headers["Host"]]


def test_only_the_row_that_is_wrong_fails(server, played):
    """Ragged, of another kind, outside: one row each; rows not asked about are nobody's fault."""
    odd = {3: [2, 2], 5: "two", 8: 9, 9: 2.5}
    server.replies["/act"] = lambda m, h: {"seq": m["seq"], "action": [odd.get(i, 2) for i in m["scenario"]]}
    found = played(toys.walk(), {"walker": client(server, "json")})
    assert {failure.row: failure.step for failure in found.failures} == dict.fromkeys(odd, 0)
    assert {failure.code for failure in found.failures} == {"agent.illegal"}


def test_too_few_rows_are_never_taken_for_others(server, played):
    """20 actions for the rows that are left would fit the whole batch; they are refused."""
    server.replies["/act"] = lambda m, h: {"seq": m["seq"], "action": np.full(20, 2)}
    found = played(toys.walk(), {"walker": client(server)})
    assert found.failures and {failure.code for failure in found.failures} == {"agent.illegal"}
    assert min(failure.step for failure in found.failures) > 0 and "shape (20,)" in found.failures[0].detail
    for max_batch, answers in ((7, 6), (7, 8)):
        server.about["max_batch"] = max_batch
        server.replies["/act"] = lambda m, h, n=answers: {"seq": m["seq"], "action": np.full(n, 2)}
        found = played(toys.walk(), {"walker": client(server)})
        assert {failure.code for failure in found.failures} == {"agent.illegal"} and "shape" in found.failures[0].detail


def test_the_bank_is_spent_once(server, played):
    """20 rows: 0.2 s a decision, 0.4 s in the bank. Decisions of 0.35 s are allowed twice, not three times."""
    def reply(message, handler):
        time.sleep(0.35)
        return answered(message)

    server.replies["/act"] = reply
    found = played(toys.walk(), {"walker": client(server, limits=SHORT)})
    assert {failure.code for failure in found.failures} == {"agent.timeout"} and found.failures[0].step == 2


def test_after_a_failure_the_next_chunk_starts_afresh(server, played):
    """What the hanging server sends too late is never read: the connection is gone."""
    server.released = threading.Event()
    late = []

    def reply(message, handler):
        late.append(message["session"])
        if len(late) > 1:
            return answered(message)
        server.released.wait(20)
        return answered(message, action=np.zeros(20, np.int64))

    server.replies["/act"] = reply
    agent, task = client(server, limits=SHORT), toys.walk()
    assert {failure.code for failure in played(task, {"walker": agent}).failures} == {"agent.timeout"}
    server.released.set()
    found, wanted = played(task, {"walker": agent}), played(task, {"walker": Right()})
    assert not found.failures and np.array_equal(found.actions["walker"], wanted.actions["walker"]) and len(set(late)) == 2


@pytest.mark.parametrize("path", ["/begin", "/end"])
def test_begin_and_end_fail_too(server, played, path):
    server.replies[path] = sends(503, b"busy", Content_Type="text/plain")
    found = played(toys.walk(), {"walker": client(server)})
    assert "status 503, but expected status 204: busy" in found.crashes["walker"]
    assert len(found.failures) == (20 if path == "/begin" else 0), "after the last step nothing is lost"


# ---- before a run ------------------------------------------------------------------------------------------------------------


def refusal(agent, code="agent.incompatible", task=None):
    with pytest.raises(ArenaError) as error:
        agent.check((task or toys.walk()).view)
    assert error.value.code == code and error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": 2}, "speaks protocol 2, this client 1"), ({"roles": ["bidder"]}, "roles walker"), ({"tasks": ["a/*"]}, "not walk/tiny-v1"),
        ({"max_batch": 0}, "max_batch"), ({"max_batch": True}, "max_batch"), ({"roles": "walker"}, "roles"), ({"extra": 1}, "extra"),
        ({"name": 3}, "name"),
    ],
)  # fmt: skip
def test_about_says_who_can_play(server, change, words):
    server.about |= change
    assert words in refusal(client(server))


def test_about_itself_can_fail(server):
    server.replies["/about"] = sends(200, b"<html>", Content_Type="text/html")
    assert "text/html" in refusal(client(server))
    server.replies["/about"] = sends(301, Location="https://elsewhere.example/about")
    assert "redirects are not followed" in refusal(client(server))
    server.replies["/about"] = sends(200, b'{"protocol": 1}', **JSON)
    assert "give encoding=json" in refusal(client(server))
    assert "name: field required" in refusal(client(server, "json"))
    del server.replies["/about"]
    assert "no mode 'nosuch'" in refusal(client(server, mode="nosuch"))
    server.stop()
    assert "no connection" in refusal(client(server), "agent.died")


def test_a_refused_connection_is_tried_once_more(make_server, monkeypatch):
    """Before a byte was sent, and only then."""
    server, tries, plain = make_server(), [], socket.create_connection

    def flaky(address, timeout=None, **more):
        tries.append(address)
        if len(tries) == 1:
            raise ConnectionRefusedError(111, "Connection refused")
        return plain(address, timeout, **more)

    monkeypatch.setattr(http_connection.socket, "create_connection", flaky)
    assert client(server).about.name == "toy" and len(tries) == 2
    server.replies["/about"] = resets
    with pytest.raises(ArenaError):
        client(server).about  # noqa: B018
    assert len(tries) == 3, "what was sent is not sent again"


def test_private_servers_need_permission(server):
    text = refusal(HttpAgent(server.url), "agent.address")
    assert "127.0.0.1 is a loopback address" in text and "--allow-private" in text and not server.headers


# ---- secrets and encryption --------------------------------------------------------------------------------------------------


def test_a_token_is_sent_and_never_shown(server, played, monkeypatch):
    secret = "s3cr3t-of-the-agent"

    def guarded(message, handler):
        if handler.headers["Authorization"] != f"Bearer {secret}":
            return handler.send(401, f"not {handler.headers['Authorization']}".encode(), Content_Type="text/plain")
        return server.about

    server.replies["/about"] = guarded
    task = toys.walk()
    assert "token_env" in refusal(client(server))
    assert "MY_TOKEN is not set" in refusal(client(server, token_env="MY_TOKEN"), "agent.token")
    monkeypatch.setenv("MY_TOKEN", "wrong-one-0123")
    text = refusal(client(server, token_env="MY_TOKEN"))
    assert "is the token in MY_TOKEN right?" in text and "wrong-one" not in text and "Bearer ***" in text
    monkeypatch.setenv("MY_TOKEN", secret + "\n")
    agent = client(server, token_env="MY_TOKEN")
    agent.check(task.view)
    server.replies["/act"] = lambda m, h: h.send(500, f"your token is {secret}".encode(), Content_Type="text/plain")
    found = played(task, {"walker": agent})
    assert "your token is ***" in found.failures[0].detail and secret not in str(found.failures) + repr(vars(agent))
    server.replies["/about"] = sends(302, Location=f"https://elsewhere.example/?token={secret}")
    text = refusal(client(server, token_env="MY_TOKEN"))
    assert "elsewhere.example/?token=***" in text and secret not in text
    monkeypatch.setenv("MY_TOKEN", "two words\r\nX-Evil: 1")
    text = refusal(client(server, token_env="MY_TOKEN"), "agent.token")
    assert "two words" not in text and "header" in text


def test_encrypted_servers_are_checked_by_name(make_server, tmp_path, monkeypatch, played):
    """The certificate must be for the name in the URL, though the connection goes to a number."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    try:
        subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = make_server(context)
    names = []
    context.sni_callback = lambda sock, name, _: names.append(name)
    unknown = HttpAgent(f"https://localhost:{server.server_port}", allow_private=True)
    assert "certificate verify failed" in refusal(unknown, "agent.died")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    agent = HttpAgent(f"https://localhost:{server.server_port}", allow_private=True)
    agent.check(toys.walk().view)
    assert not played(toys.walk(), {"walker": agent}).failures and set(names) == {"localhost"}
    assert {headers["Host"] for headers in server.headers} == {f"localhost:{server.server_port}"}
    other = HttpAgent(f"https://127.0.0.1:{server.server_port}", allow_private=True)
    assert "certificate verify failed" in refusal(other, "agent.died")


def test_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    assert client(server).about.name == "toy"
