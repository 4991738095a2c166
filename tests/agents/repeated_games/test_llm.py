"""A language model as a player, through the real kernel and a real server on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from agents.repeated_games.llm import Llm
from agents.repeated_games.strategies import Strategist
from arena import registry
from arena.chat import endpoint as endpoints
from arena.chat import transcripts
from arena.chat.endpoint import tokens_in
from arena.chat.transcripts import INVALID, Reader, path_of
from arena.contract import check_agent
from arena.errors import ArenaError
from arena.rollout import players, rollout

spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[2] / "arena" / "chat" / "loopback.py")
loopback = sys.modules.setdefault("loopback", importlib.util.module_from_spec(spec))
if not hasattr(loopback, "Loopback"):
    spec.loader.exec_module(loopback)
answers, first, refuses, says = loopback.answers, loopback.first, loopback.refuses, loopback.says

SECRET = "sk-very-secret-1234"
OTHERS_LAST = re.compile(r"; .* chose \w+ ([A-Z]) and got [^;]*\.\n\n[^\n]*\n[^\n]*$")


def copies(prompt):
    """A model that plays tit for tat, going by the text alone; J first."""
    found = OTHERS_LAST.search(prompt)
    return found[1] if found else "J"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("ARENA_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.001)


@pytest.fixture
def server():
    served = loopback.Loopback(answers(copies))
    yield served
    served.stop()


@pytest.fixture
def task():
    return registry.task("repeated_games/tiny-v1")


@pytest.fixture
def llm(server):
    made = []

    def make(**parameters):
        made.append(Llm(**{"endpoint": server.url, "model": "toy", **parameters}))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def play(task, agent, rows=None, seed=0, run="run"):
    rows = list(range(task.n) if rows is None else rows)
    ids = torch.tensor(rows)
    episode = rollout(task.domain, task.sample("test", rows), players(task.domain, {"player": agent}), task=task.view, ids=ids, seed=seed, run=run)
    assert not episode.crashes, episode.crashes
    return episode


def transcript(run="run"):
    reader = Reader(path_of(run, "player"))
    found = reader.calls()
    reader.close()
    return found


def test_a_model_that_plays_tit_for_tat_plays_it_to_the_last_point(task, llm, server):
    """In both seats and both games: what it reads is what happened."""
    agent = llm()
    found, expected = play(task, agent), play(task, Strategist(strategy="tft"))
    assert (found.actions["player"] == expected.actions["player"]).all()
    assert all((found.metrics[name] == expected.metrics[name]).all() for name in expected.metrics)
    asked = [body["messages"][0]["content"] for body in server.bodies]
    assert len(asked) == len(set(asked)) == agent.usage["calls"] < 200 and agent.usage["invalid"] == 0
    assert {body["temperature"] for body in server.bodies} == {0.0} and {body["max_tokens"] for body in server.bodies} == {16}


def test_first_rounds_with_the_same_rules_are_asked_once(task, llm, server):
    """Twenty matches are four games to a player who has seen nothing (PD-8, BoS-10 in two seats), each in two orders of the options."""
    server.reply = says("J")
    play(task, llm())
    starts = [body for body in server.bodies if "round 1 of 10" in body["messages"][0]["content"]]
    assert 3 <= len(starts) <= 6


def test_all_matches_of_a_round_are_asked_at_once(task, llm, server):
    server.reply = first(*[loopback.slow(0.5, answers(copies))] * 16, answers(copies))
    play(task, llm(temperature=1.0))  # nothing is shared
    assert len(server.bodies) == 200 and server.most > 8


def test_an_answer_without_a_choice_is_asked_for_again_then_a_coin_is_thrown(task, llm, server):
    server.reply = says("I would rather not say.")
    agent = llm(temperature=0.7)
    episode = play(task, agent, range(6), seed=3)
    assert agent.usage["invalid"] == 60 and agent.usage["reasks"] == 120 and len(server.bodies) == 180
    brief = agent.brief
    coins = torch.stack([brief.uniforms(step, 1)[:, 0] >= 0.5 for step in range(10)]).long().numpy()
    assert (episode.actions["player"] == coins).all() and 10 < coins.sum() < 50
    calls = transcript()
    assert len(calls) == 180 and {call.choice for call in calls} == {INVALID}
    last = server.bodies[-1]["messages"]
    assert [m["role"] for m in last] == ["user", "assistant", "user", "assistant", "user"] and "not one of the two letters" in last[-1]["content"]


def test_a_reminder_helps(task, llm, server):
    server.reply = answers(lambda text: "F" if "not one of the two letters" in text else "Hm, J or F?")
    agent = llm()
    episode = play(task, agent, range(6))
    assert (episode.actions["player"] == 1).all() and agent.usage["invalid"] == 0 and agent.usage["reasks"] == 60


def test_unknown_labels_and_talk_are_read_or_refused(task, llm, server):
    server.reply = answers(lambda text: "Q" if "not one" in text else "Considering J and F at length... Answer: F")
    agent = llm()
    assert (play(task, agent, range(6)).actions["player"] == 1).all() and agent.usage["reasks"] == 0


def test_scot_predicts_first_and_then_chooses_given_that(task, llm, server):
    def best_reply_to_what_is_expected(text):
        expected = re.search(r"You expect .* to choose option ([A-Z])", text)
        return expected[1] if expected else "F"

    server.reply = answers(best_reply_to_what_is_expected)
    agent = llm(prompt="scot")
    episode = play(task, agent, range(6))
    assert (episode.actions["player"] == 1).all()  # F was predicted, F is chosen
    calls = transcript()
    assert [call.place.stage for call in calls[:4]] == ["predict", "choose", "predict", "choose"] and len(calls) == 120
    second = calls[1].messages
    assert [m["role"] for m in second] == ["user", "assistant", "user"] and second[1]["content"] == "F" and "do you expect" in second[0]["content"]


def test_scot_without_a_prediction_asks_directly(task, llm, server):
    server.reply = answers(lambda text: "?" if "do you expect" in text or "not one of" in text else "J")
    agent = llm(prompt="scot")
    assert (play(task, agent, range(2)).actions["player"] == 0).all() and agent.usage["invalid"] == 0
    last = [body["messages"] for body in server.bodies if "Which option do you choose" in body["messages"][-1]["content"]]
    assert last and all(len(messages) == 1 for messages in last)


def test_other_prompts(task, llm, server):
    play(task, llm(prompt="opponent_info", unit="coins"), range(2))
    assert all("by mistake" in body["messages"][0]["content"] and "8 coins" in body["messages"][0]["content"] for body in server.bodies[:1])
    play(task, llm(prompt="opponent_info", about="same-goal"), range(1))
    assert "the same aim" in server.bodies[-1]["messages"][0]["content"]
    server.reply = says("<think>J is nice, F is safe</think>F is safe, J is nice.\nAnswer: F", prompt_tokens=5)
    agent = llm(prompt="cot")
    assert (play(task, agent, range(2)).actions["player"] == 1).all()
    assert server.bodies[-1]["max_tokens"] == 1024 and "step by step" in server.bodies[-1]["messages"][0]["content"]
    play(task, llm(token_field="max_completion_tokens", max_tokens=4000, temperature=None), range(1))
    assert server.bodies[-1]["max_completion_tokens"] == 4000 and not {"max_tokens", "temperature"} & set(server.bodies[-1])


def test_seeds_ask_anew_and_chunks_do_not_change_answers(task, llm, server):
    server.reply = answers(lambda text: "JF"[len(text) % 2])
    play(task, llm(), range(8))
    asked = len(server.bodies)
    agent = llm()
    parts = [play(task, agent, rows).actions["player"] for rows in (range(0, 3), range(3, 8))]
    assert len(server.bodies) == asked and agent.usage["cached"] == agent.usage["calls"] > 0
    assert (torch.cat([torch.tensor(part) for part in parts], 1) == torch.tensor(play(task, llm(), range(8)).actions["player"])).all()
    play(task, llm(), range(8), seed=1)
    assert len(server.bodies) == 2 * asked


def test_above_temperature_zero_every_match_draws_its_own_answer(task, llm, server):
    play(task, llm(temperature=0.5), range(8))
    assert len(server.bodies) == 80
    play(task, llm(temperature=0.5), range(5))
    assert len(server.bodies) == 80  # kept, match by match


def test_a_fault_of_settings_or_disk_is_not_the_agents(task, llm, tmp_path, monkeypatch):
    """A run that is resumed under other settings, or on a full disk, stops; no scenario counts as failed."""

    def stopped(code):
        with pytest.raises(ArenaError) as caught:
            play(task, llm(), [0, 1])
        assert caught.value.code == code and caught.value.passing and caught.value.hint
        return caught.value

    for name, value, code in (("CACHE", "foo", "settings.value"), ("TOKENS", "-1", "settings.value"), ("MONEY", "3", "chat.prices")):
        with monkeypatch.context() as wrong:
            wrong.setenv(f"ARENA_CHAT_{name}", value)
            stopped(code)
    play(task, llm(), [0, 1])
    plain = transcripts.opened

    def opened(path, schema):
        connection = plain(path, schema)
        if "-player" in path.name:
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    path_of("run", "player").unlink()
    monkeypatch.setattr(transcripts, "opened", opened)
    assert "full" in str(stopped("infra.disk"))
    cache = tmp_path / "home" / "chat" / "answers.sqlite"
    for file in cache.parent.glob("answers.sqlite*"):
        file.unlink()
    cache.write_bytes(b"no database" * 1000)
    assert str(cache) in str(stopped("store.chat"))


def test_it_keeps_the_contract(task, server):
    server.reply = answers(copies)
    report = check_agent(lambda: Llm(server.url, "toy"), task)
    assert report.ok, report


def test_an_endpoint_that_is_away_or_refuses_the_key_is_told_before_a_run(task, llm, server, monkeypatch):
    llm().check(task.view)
    monkeypatch.setenv("TOY_KEY", SECRET)
    server.models = refuses(401, f"bad key {SECRET}")
    with pytest.raises(ArenaError) as caught:
        llm(key_env="TOY_KEY").check(task.view)
    assert caught.value.code == "infra.key" and SECRET not in str(caught.value)
    with pytest.raises(ArenaError) as caught:
        llm(key_env="ABSENT_KEY").check(task.view)
    assert "ABSENT_KEY is not set" in caught.value.message
    server.stop()
    with pytest.raises(ArenaError) as caught:
        llm().check(task.view)
    assert caught.value.code == "infra.unreachable"
    monkeypatch.setenv("ARENA_CHAT_CACHE", "only")
    llm().check(task.view)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"endpoint": f"https://me:{SECRET}@host/v1"}, "agent.address"),
        ({"key_env": SECRET}, "infra.key"),
        ({"temperature": 3.0}, "agent.parameters"),
        ({"max_tokens": 0}, "agent.parameters"),
    ],
)
def test_parameters_that_are_none(parameters, code):
    with pytest.raises(ArenaError) as caught:
        Llm(**{"endpoint": "http://127.0.0.1:1/v1", "model": "toy", **parameters})
    assert caught.value.code == code and SECRET not in str(caught.value)


@pytest.mark.parametrize("reference", ["llm(endpoint=x)", "llm(endpoint=http://127.0.0.1:1/v1, model=m, prompt=poem)", "llm"])
def test_references_that_lack_or_mistake_a_parameter_name_it(reference):
    with pytest.raises(ArenaError) as caught:
        registry.candidate(reference).make()
    assert caught.value.code == "agent.parameters" and re.search("model|prompt|endpoint", caught.value.message)


def test_the_estimate_is_what_a_run_without_shared_answers_takes(task, llm, server, tmp_path, monkeypatch):
    server.reply = answers(copies)
    (tmp_path / "prices.toml").write_text("[toy]\ninput = 1000\noutput = 2000\n")
    assert "no price" in llm().estimate(task)
    monkeypatch.setenv("ARENA_CHAT_PRICES", "prices.toml")
    monkeypatch.setenv("ARENA_CHAT_TOKENS", "1e4")
    told = llm(prompt="scot").estimate(task)
    calls, tokens, most = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:calls|tokens in|out)", told))
    assert calls == 400 and most == 400 * 16 and "budget 10,000 tokens, which may stop it" in told and not server.bodies
    money = float(re.search(r"at most ([\d,.]+) in money", told)[1].replace(",", ""))
    assert money == pytest.approx(tokens / 1000 + most / 500, rel=1e-3)
    monkeypatch.delenv("ARENA_CHAT_TOKENS")
    agent = llm(prompt="scot", temperature=1.0)
    play(task, agent)
    asked = sum(tokens_in(body["messages"]) for body in server.bodies)
    assert len(server.bodies) == 400 and tokens == pytest.approx(asked, rel=0.02)


def test_calls_without_a_price_are_counted_so_that_money_is_not_taken_for_all(task, llm, tmp_path, monkeypatch):
    """Prices that come partway: some chunks have money, some have not."""
    from dashboard.costs import amounts

    (tmp_path / "prices.toml").write_text("[toy]\ninput = 1000\noutput = 2000\n")
    before, after = llm(), llm()
    play(task, before, [0, 1])
    monkeypatch.setenv("ARENA_CHAT_PRICES", "prices.toml")
    play(task, after, [2, 3])
    assert before.usage["unpriced"] == before.usage["calls"] > 0 and "money" not in before.usage
    told = after.usage
    assert told["money"] == pytest.approx((told["input_tokens"] + 2 * told["output_tokens"]) / 1000) and "unpriced" not in told
    whole = {name: before.usage.get(name, 0) + after.usage.get(name, 0) for name in {*before.usage, *after.usage}}
    assert set(amounts(dict(after.usage))) == {"tokens", "money"} and set(amounts(whole)) == {"tokens"}


def test_two_models_play_each_other_each_in_its_own_seat(llm, server):
    """Cross-play: what was read in the answers of a role is what that role has played, and the two are told mirrored histories."""
    game = registry.task("repeated_games/crossplay-v1")
    server.reply = answers(lambda text: re.search(r"only: ([A-Z])", text)[1])  # whatever is listed first
    seats = {"row": llm(), "column": llm()}
    rows = list(range(4))
    scenario = game.sample("test", rows)
    episode = rollout(game.domain, scenario, players(game.domain, seats), task=game.view, ids=torch.tensor(rows), run="match")
    assert not episode.failures and (episode.actions["row"][..., 0] == scenario.order.numpy().T).all()
    for role in seats:
        reader = Reader(path_of("match", role))
        for row in rows:
            said = [letters_of(scenario, row).index(call.choice) for call in reader.calls(row)]
            assert said == episode.actions[role][:, row, 0].tolist() and len(said) == 10
        last = reader.calls(0)[-1].messages[0]["content"]
        own = re.findall(r"you chose \w+ ([A-Z]) and", last)
        assert [letters_of(scenario, 0)[action] for action in episode.actions[role][:9, 0, 0]] == own
        reader.close()


def letters_of(scenario, row):
    return [chr(ord("A") + label) for label in scenario.labels[row].tolist()]
