"""Cache, single flight, limits and budgets of the client, against a real server."""

from __future__ import annotations

import time

import pytest
from loopback import answers, first, refuses, says, slow

from arena import settings
from arena.chat import options as chosen
from arena.chat.options import Price
from arena.chat.transcripts import Reader
from arena.errors import ArenaError


def read(path):
    reader = Reader(path)
    found = reader.calls(), reader.summary()
    reader.close()
    return found


# ---- cache -----------------------------------------------------------------------------------------------------------------


def test_what_was_answered_once_is_not_asked_again(server, client, question):
    server.reply = answers(str.upper)
    (one,) = client().complete([question("j")])
    again = client(name="later").complete([question("j", scenario=7)])[0]
    assert (one.source, again.source) == ("live", "cache") and again.text == "J" and len(server.bodies) == 1
    assert (again.input_tokens, again.output_tokens) == (one.input_tokens, one.output_tokens)


@pytest.mark.parametrize("other", ["text", "sample", "temperature", "model", "version"])
def test_whatever_decides_an_answer_is_part_of_its_key(server, client, question, other):
    client().complete([question("a")])
    server.reply = says("F")
    asked = {"text": question("b"), "sample": question("a", sample="1"), "temperature": question("a", temperature=0.5)}.get(other, question("a"))
    (call,) = client(model="toy2" if other == "model" else "toy", version="2" if other == "version" else "1").complete([asked])
    assert call.source == "live" and call.text == "F" and len(server.bodies) == 2


def test_refresh_asks_anew_once_and_keeps_the_new_answer(server, client, question):
    client().complete([question()])
    server.reply = says("F")
    fresh = client(cache="refresh")
    assert [fresh.complete([question()])[0].source for _ in range(2)] == ["live", "cache"]
    assert client().complete([question()])[0].text == "F" and len(server.bodies) == 2


def test_only_needs_no_server_and_tells_what_is_missing(server, client, question):
    client().complete([question()])
    server.stop()
    offline = client(url="https://nowhere.invalid/v1", cache="only")  # no key is set either
    assert offline.complete([question()])[0].text == "J"
    with pytest.raises(ArenaError) as caught:
        offline.complete([question("something else")])
    assert caught.value.code == "run.cache" and "something else" in caught.value.message and len(caught.value.context["key"]) == 64
    assert caught.value.context["key"] in caught.value.message and "ARENA_CHAT_CACHE" in caught.value.hint


def test_failures_are_not_kept(server, client, question):
    server.reply = first(refuses(400), says("J"))
    one = client()
    with pytest.raises(ArenaError):
        one.complete([question()])
    assert one.complete([question()])[0].source == "live"


# ---- many at once ------------------------------------------------------------------------------------------------------------


def test_identical_questions_are_sent_once(server, client, question, tmp_path):
    server.reply = slow(0.1, says("J"))
    calls = client(prices={"toy": Price(1.0, 1.0)}).complete([question(scenario=i) for i in range(20)])
    assert len(server.bodies) == 1 and [c.source for c in calls].count("shared") == 19 and {c.text for c in calls} == {"J"}
    assert sum(c.input_tokens for c in calls) == 100 and sum(c.money for c in calls) == pytest.approx(102e-6)
    rows, summary = read(tmp_path / "run.sqlite")
    assert [row.place.scenario for row in rows] == list(range(20)) and (summary.live, summary.shared, summary.spent.calls) == (1, 19, 1)


def test_an_error_of_a_shared_question_reaches_all_of_them(server, client, question):
    server.reply = slow(0.1, refuses(400, "never"))
    with pytest.raises(ArenaError, match="never"):
        client().complete([question(scenario=i) for i in range(5)])
    assert len(server.bodies) == 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_questions_are_under_way_than_wished(server, client, question, concurrency):
    server.reply = slow(0.2, says("J"))
    client(concurrency=concurrency).complete([question(f"q{i}") for i in range(8)])
    assert server.most == concurrency and len(server.bodies) == 8


def test_answers_come_in_the_order_of_the_questions(server, client, question):
    server.reply = lambda handler, body: slow(0.05 if body["messages"][0]["content"] == "q0" else 0, answers(str.upper))(handler, body)
    assert [c.text for c in client().complete([question(f"q{i}") for i in range(9)])] == [f"Q{i}" for i in range(9)]


def test_requests_per_minute_are_limited(server, client, question):
    start = time.monotonic()
    client(per_minute=600).complete([question(f"q{i}") for i in range(6)])  # one each 0.1 s
    assert time.monotonic() - start >= 0.5


def test_who_waits_for_a_turn_is_not_sent_after_an_error(server, client, question):
    server.reply = refuses(400, "no")
    start = time.monotonic()
    with pytest.raises(ArenaError, match="400"):
        client(per_minute=20).complete([question(f"q{i}") for i in range(6)])  # one each 3 s
    assert len(server.bodies) == 1 and time.monotonic() - start < 2


def test_an_error_stops_what_was_not_sent_and_keeps_what_comes(server, client, question, tmp_path):
    def reply(handler, body):
        text = body["messages"][0]["content"]
        time.sleep(0.4 if text == "q0" else 0.8)
        (refuses(400, "no") if text == "q0" else says("J"))(handler, body)

    server.reply = reply
    one = client(concurrency=4)
    with pytest.raises(ArenaError, match="no"):
        one.complete([question(f"q{i}", scenario=i) for i in range(40)])
    assert len(server.bodies) == 4
    rows, summary = read(tmp_path / "run.sqlite")
    assert (summary.live, summary.failed, summary.spent.calls) == (3, 1, 3)
    server.reply = says("J")
    calls = one.complete([question(f"q{i}") for i in range(40)])
    assert [c.source for c in calls].count("cache") == 3 and len(server.bodies) == 41


def test_a_cancelled_question_is_not_waited_for(server, client, question):
    one = client()

    def reply(handler, body):
        one.loop.call_soon_threadsafe(lambda: [flight.cancel() for flight in one.flights.values()])
        time.sleep(30)

    server.reply = reply
    start = time.monotonic()
    with pytest.raises(BaseException):  # noqa: B017 - cancelled, whatever its type
        one.complete([question()])
    assert time.monotonic() - start < 20 and not one.flights


LONG = "x" * 300  # about as many tokens as the server says it counts


# ---- budget ------------------------------------------------------------------------------------------------------------------


def test_a_budget_of_tokens_stops_cleanly_and_is_continued(server, client, question, tmp_path):
    asked = [question(f"q{i}" + LONG, scenario=i) for i in range(30)]
    with pytest.raises(ArenaError) as caught:
        client(tokens=1050, concurrency=4).complete(asked)
    assert caught.value.code == "run.budget" and "1,050 tokens" in caught.value.message and "ARENA_CHAT_TOKENS" in caught.value.hint
    _, summary = read(tmp_path / "run.sqlite")
    assert summary.spent.calls == len(server.bodies) == 10 and summary.spent.tokens == 1020  # 102 each: an eleventh may not be begun
    with pytest.raises(ArenaError):
        client(tokens=1050).complete(asked)
    assert len(server.bodies) == 10  # the budget is that of the run, not of the attempt
    calls = client(tokens=4000).complete(asked)
    assert [c.source for c in calls].count("cache") == 10 and len(server.bodies) == 30


def test_a_budget_of_money_counts_by_the_users_prices(server, client, question):
    with pytest.raises(ArenaError) as caught:
        client(money=0.0022, prices={"toy": Price(2.0, 4.0)}, concurrency=1).complete([question(f"q{i}" + LONG) for i in range(30)])
    assert caught.value.code == "run.budget" and "0.0022 money" in caught.value.message and len(server.bodies) == 10  # 0.000208 each
    with pytest.raises(ArenaError) as caught:
        client(model="other", money=1.0, prices={"toy": Price(2.0, 4.0)})
    assert caught.value.code == "chat.prices" and "'other'" in caught.value.message


def test_a_budget_is_one_for_all_processes_of_a_run(server, client, question):
    both = [client(tokens=1050, concurrency=1) for _ in range(2)]
    both[0].complete([question(f"a{i}") for i in range(9)])
    with pytest.raises(ArenaError):
        for i in range(9):
            both[1].complete([question(f"b{i}")])
    assert len(server.bodies) <= 11  # the other one learns of what was spent with its own next payment


# ---- options -----------------------------------------------------------------------------------------------------------------


def test_options_come_from_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert chosen.options() == chosen.Options()
    (tmp_path / "prices.toml").write_text('["org/toy-7b"]\ninput = 0.15\noutput = 0.6\n')
    for name, value in {"CACHE": "only", "CONCURRENCY": "32", "PER_MINUTE": "90", "TOKENS": "1e6", "MONEY": "5", "PRICES": "prices.toml"}.items():
        monkeypatch.setenv(f"ARENA_CHAT_{name}", value)
    found = chosen.options()
    assert found == chosen.Options("only", 32, 90.0, 60.0, 1e6, 5.0, {"org/toy-7b": Price(0.15, 0.6)})
    assert found.price("org/toy-7b").of(1_000_000, 500_000) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE", "never"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "2.5"),
        ("PER_MINUTE", "-1"),
        ("TIMEOUT", "soon"),
        ("TOKENS", "nan"),
        ("MONEY", "inf"),
    ],
)
def test_options_that_are_none_are_told_with_their_origin(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"ARENA_CHAT_{name}", value)
    with pytest.raises(ArenaError) as caught:
        chosen.options()
    assert caught.value.code == "settings.value" and value in caught.value.message and f"ARENA_CHAT_{name}" in caught.value.message
    assert set(settings.DEFAULTS) >= {f"chat_{name.lower()}"}


@pytest.mark.parametrize(
    "text", ["[toy]\ninput = 1\n", "[toy]\ninput = -1\noutput = 2\n", "toy = 3\n", "[toy\n", "[toy]\ninput = true\noutput = 1\n"]
)
def test_price_tables_that_are_none_are_refused(text, tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ArenaError) as caught:
        chosen.prices(path)
    assert caught.value.code == "chat.prices" and "per million tokens" in caught.value.hint
