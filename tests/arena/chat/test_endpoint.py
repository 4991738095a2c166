"""What a server can do to a client, one by one, over real sockets."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import pytest
from loopback import Loopback, completion, drips, first, raw, refuses, says, slow, truncated

from arena.chat import endpoint as endpoints
from arena.chat.client import served
from arena.chat.endpoint import Endpoint
from arena.chat.transcripts import Reader
from arena.errors import ArenaError

SECRET = "sk-very-secret-1234"


def failed(client, question, code):
    with pytest.raises(ArenaError) as caught:
        client.complete([question()])
    assert caught.value.code == code, caught.value
    return caught.value


def rows(tmp_path, name="run"):
    reader = Reader(tmp_path / f"{name}.sqlite")
    found = reader.calls()
    reader.close()
    return found


def test_an_answer_with_what_the_server_counted(server, client, question):
    server.reply = says("J", finish="stop")
    (call,) = client().complete([question()])
    assert (call.text, call.finish, call.input_tokens, call.output_tokens, call.estimated) == ("J", "stop", 100, 2, False)
    assert call.source == "live" and [a.status for a in call.attempts] == [200] and call.seconds > 0
    assert server.bodies == [{"model": "toy", "messages": [{"role": "user", "content": "which?"}], "temperature": 0.0, "max_tokens": 8}]
    assert server.paths == ["/v1/chat/completions"]


def test_tokens_are_guessed_where_the_server_counts_none(server, client, question):
    server.reply = says("a verbose answer", usage=False)
    (call,) = client().complete([question("x" * 400)])
    assert call.estimated and call.input_tokens == 104 and call.output_tokens == 4


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"content": "\\ud83d J"}', "? J"),  # half of a surrogate pair is no text that could be kept
        (b'{"content": [{"type": "thinking"}, {"type": "text", "text": "J"}]}', "J"),
        (b'{"content": null, "refusal": "I do not play"}', "I do not play"),
        ('{"content": "J 💩\\u0000"}'.encode(), "J 💩\0"),
    ],
)
def test_answers_of_any_form_are_read_and_kept(server, client, question, content, text):
    server.reply = raw(b'{"choices": [{"message": ' + content + b'}], "usage": {"prompt_tokens": 1e30, "completion_tokens": true}}')
    one = client()
    (call,), (again,) = one.complete([question()]), one.complete([question()])
    assert call.text == again.text == text and again.source == "cache" and call.estimated


@pytest.mark.parametrize("reply", [says(None), says("")])
def test_no_content_is_an_empty_answer(server, client, question, reply):
    server.reply = reply
    (call,) = client().complete([question()])
    assert call.text == ""


def test_a_model_that_says_nothing_at_all_is_not_asked_for_ever(server, client, question):
    server.reply = says("", finish="length")
    error = None
    with pytest.raises(ArenaError) as caught:
        client(concurrency=1).complete([question(f"q{i}") for i in range(50)])
    error = caught.value
    assert error.code == "infra.empty" and "max_tokens" in error.hint and len(server.bodies) == 12


def test_one_answer_among_empty_ones_is_enough_to_go_on(server, client, question):
    server.reply = first(says("J"), says(""))
    calls = client(concurrency=1).complete([question(f"q{i}") for i in range(30)])
    assert sum(call.text == "" for call in calls) == 29


# ---- retries ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_failure_that_may_pass_is_tried_again(server, client, question, status, tmp_path):
    server.reply = first(refuses(status, "busy"), refuses(status, "busy"), says("F"))
    (call,) = client().complete([question()])
    assert call.text == "F" and [a.status for a in call.attempts] == [status, status, 200]
    assert call.attempts[0].reason == "busy" and call.attempts[0].wait > 0 and rows(tmp_path)[0].attempts == call.attempts


def test_it_gives_up_after_six_retries_and_says_how_often_it_tried(server, client, question, tmp_path):
    server.reply = refuses(503, "overloaded")
    error = failed(client(), question, "infra.busy")
    assert len(server.bodies) == 7 and "in 7 attempts" in error.message and "overloaded" in error.message and "resume" in error.hint
    (row,) = rows(tmp_path)
    assert row.source == "failed" and len(row.attempts) == 7 and row.error == error.message


@pytest.mark.parametrize(("headers", "least"), [({"Retry-After": "0.3"}, 0.3), ({"retry-after-ms": "300"}, 0.3), ({"Retry-After": "date"}, 0.5)])
def test_retry_after_wins(server, client, question, headers, least):
    if headers.get("Retry-After") == "date":
        headers = {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    server.reply = first(refuses(429, "slow down", headers), says("J"))
    start = time.monotonic()
    (call,) = client().complete([question()])
    assert time.monotonic() - start >= least and call.attempts[0].wait >= least


def test_a_wait_that_is_too_long_stops_at_once(server, client, question):
    server.reply = refuses(429, "come back tomorrow", {"Retry-After": "3600"})
    error = failed(client(), question, "infra.busy")
    assert len(server.bodies) == 1 and "3600 s" in error.hint


def test_a_quota_that_is_spent_is_not_asked_for_again(server, client, question):
    server.reply = refuses(429, "you exceeded your quota", kind="insufficient_quota")
    error = failed(client(), question, "infra.busy")
    assert len(server.bodies) == 1 and "quota" in error.message


@pytest.mark.parametrize("retry", range(8))
def test_the_back_off_doubles_and_is_capped(retry, monkeypatch):
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.5)
    assert min(endpoints.LONGEST_WAIT, endpoints.FIRST_WAIT * 2**retry) == [0.5, 1, 2, 4, 8, 16, 30, 30][retry]


def test_a_slow_server_times_out_and_may_recover(server, client, question):
    server.reply = first(slow(9, says("late")), says("J"))
    (call,) = client(timeout=1.5).complete([question()])
    assert call.text == "J" and [a.status for a in call.attempts] == [0, 200] and "no answer in 1.5 s" in call.attempts[0].reason


def test_a_server_that_sends_a_byte_now_and_then_times_out_too(server, client, question, monkeypatch):
    monkeypatch.setattr(endpoints, "RETRIES", 0)
    server.reply = drips(9)
    start = time.monotonic()
    error = failed(client(timeout=0.3), question, "infra.timeout")
    assert time.monotonic() - start < 8 and "chat_timeout" in error.hint


def test_an_answer_that_breaks_off_is_asked_for_again(server, client, question):
    server.reply = first(truncated, says("J"))
    (call,) = client().complete([question()])
    assert call.text == "J" and [a.status for a in call.attempts] == [0, 200] and call.attempts[0].reason


def test_nobody_there(client, question):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = failed(client(url), question, "infra.unreachable")
    assert url in error.message and "7 attempts" in error.message and "server up" in error.hint
    with pytest.raises(ArenaError) as caught:
        served(Endpoint(url, "toy"))
    assert caught.value.code == "infra.unreachable"


# ---- what is not tried again -------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_told_with_those_that_are_served(server, client, question):
    server.reply, server.models = refuses(404, "The model `toyy` does not exist."), ["toy", "other"]
    error = failed(client(model="toyy"), question, "infra.model")
    assert len(server.bodies) == 1 and "'toyy'" in error.message and "it serves other, toy" in error.hint


@pytest.mark.parametrize("models", [None, refuses(500), raw(b"<html>")])
def test_an_unknown_model_where_no_models_are_listed(server, client, question, models):
    server.reply, server.models = refuses(404, "not found"), models
    error = failed(client(), question, "infra.model")
    assert "/v1" in error.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_and_never_shown(server, client, question, status, monkeypatch, tmp_path):
    monkeypatch.setenv("TOY_KEY", SECRET)
    server.reply = server.models = refuses(status, f"Incorrect API key provided: {SECRET}")
    one = client(key_env="TOY_KEY")
    for ask in (lambda: one.complete([question()]), lambda: served(Endpoint(server.url, "toy", "TOY_KEY"))):
        with pytest.raises(ArenaError) as caught:
            ask()
        assert caught.value.code == "infra.key" and "TOY_KEY" in caught.value.hint and SECRET not in str(caught.value)
    assert len(server.bodies) == 1 and server.headers[0]["authorization"] == f"Bearer {SECRET}"
    server.reply = lambda handler, body: handler.send(200, completion(f"J {handler.headers['authorization']}", finish=SECRET))
    assert one.complete([question("echo")])[0].text == "J Bearer ***"
    server.reply, server.models = refuses(404, SECRET), [SECRET]
    assert SECRET not in str(failed(one, question, "infra.model"))
    one.close()
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_what_the_server_refuses_is_told_in_its_words(server, client, question):
    server.reply = refuses(400, "context length exceeded")
    error = failed(client(), question, "infra.request")
    assert len(server.bodies) == 1 and "context length exceeded" in error.message
    server.reply = refuses(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert "token_field=max_completion_tokens" in failed(client(), question, "infra.request").hint


def test_redirects_are_not_followed(server, client, question):
    elsewhere = Loopback()
    server.reply = refuses(307, headers={"Location": f"{elsewhere.url}/chat/completions"})
    error = failed(client(), question, "infra.request")
    assert "points elsewhere" in error.message and "as endpoint" in error.hint and not elsewhere.bodies
    elsewhere.stop()


@pytest.mark.parametrize(
    "content",
    [b"{not json", b"<html>Welcome to nginx</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'"J"', b"\xff\xfe", b"", b"[" * 100_000,
     b'{"error": {"message": "the provider is down"}}'],
)  # fmt: skip
def test_what_is_no_chat_completion_is_told_with_its_beginning(server, client, question, content):
    server.reply = raw(content)
    error = failed(client(), question, "infra.answer")
    assert len(server.bodies) == 1 and "no chat completion" in error.message and "/v1" in error.hint
    if b"nginx" in content or b"provider" in content:
        assert "nginx" in error.message or "the provider is down" in error.message


def test_a_reply_without_end_is_not_read_to_it(server, client, question, monkeypatch):
    monkeypatch.setattr(endpoints, "LONGEST", 1_000_000)
    server.reply = raw(b'{"choices": [{"message": {"content": "' + b"J" * 2_000_000 + b'"}}]}')
    error = failed(client(), question, "infra.answer")
    assert "more than 1 MB" in error.message and len(server.bodies) == 1
    server.models = server.reply
    assert served(Endpoint(server.url, "toy")) == []


def test_an_error_within_a_200_is_that_error(server, client, question):
    """As gateways pass on what the server behind them said."""
    server.reply = first(raw(b'{"error": {"message": "overloaded", "code": 503}}'), says("J"))
    assert client().complete([question()])[0].text == "J" and len(server.bodies) == 2
    server.reply = raw(b'{"error": {"message": "no credit", "code": 402}}')
    assert "answered 402: no credit" in failed(client(version="2"), question, "infra.request").message


# ---- addresses and keys ------------------------------------------------------------------------------------------------------


def test_this_machine_gets_no_key_and_nothing_of_the_users_environment(server, client, question, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Other: {SECRET}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    client().complete([question()])
    assert SECRET not in str(server.headers) and "authorization" not in server.headers[0]


def test_no_proxy_stands_between_this_machine_and_itself(server, client, question, monkeypatch):
    proxy = Loopback()
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
    client().complete([question()])
    assert len(server.bodies) == 1 and not proxy.bodies
    proxy.stop()


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch):
    with pytest.raises(ArenaError, match="OPENAI_API_KEY is not set"):
        _ = Endpoint("https://api.example.org/v1", "m").key
    monkeypatch.setenv("OPENAI_API_KEY", "with space")
    with pytest.raises(ArenaError) as caught:
        _ = Endpoint("https://api.example.org/v1", "m").key
    assert caught.value.code == "infra.key" and "with space" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert Endpoint("https://api.example.org/v1", "m").key == SECRET


def test_a_key_goes_nowhere_without_encryption(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OTHER_KEY", SECRET)
    assert Endpoint("http://10.0.0.5:8000/v1", "m").key == ""
    with pytest.raises(ArenaError, match="not encrypted"):
        _ = Endpoint("http://10.0.0.5:8000/v1", "m", "OTHER_KEY").key
    assert Endpoint("http://localhost:8000/v1", "m", "OTHER_KEY").key == SECRET


@pytest.mark.parametrize("url", [f"https://user:{SECRET}@host/v1", f"https://host/v1?key={SECRET}", "ftp://host", "host:8000/v1", "http://"])
def test_urls_that_are_none_are_refused_without_showing_a_secret(url):
    with pytest.raises(ArenaError) as caught:
        Endpoint(url, "m")
    assert caught.value.code == "agent.address" and SECRET not in str(caught.value) and "key_env" in caught.value.hint


@pytest.mark.parametrize("name", [SECRET, "sk_lower", "", "A B"])
def test_a_key_in_place_of_a_variables_name_is_refused_and_not_shown(name):
    with pytest.raises(ArenaError) as caught:
        Endpoint("https://host/v1", "m", name)
    assert caught.value.code == "infra.key" and (not name or name not in str(caught.value))


def test_served_lists_the_models(server):
    server.models = ["b", "a"]
    assert served(Endpoint(server.url, "toy")) == ["a", "b"]
