from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arena import registry
from arena.cards import agent_card
from arena.evaluation import execute, request
from arena.integrity import verify
from arena.store import open_store

HUB = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")  # by which the hub finds the front matter


def front(text):
    """The front matter as the hub reads it, and what follows."""
    found = HUB.match(text)
    assert found is not None
    return yaml.safe_load(found[2]), text[found.end() :]


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as store:
        yield store


def test_a_card_holds_the_results_as_the_hub_reads_them(kept, tiny):
    pid = registry.candidate("pid")
    for seed in (0, 1):
        verify(kept, execute(kept, request(kept, tiny, pid, seed), tiny, pid).id, tiny)
    card = agent_card(kept, kept.agent("pid"))
    data, body = front(card.text)
    assert data == json.loads(json.dumps(card.front)), "nothing is lost on the way through YAML"
    (index,) = data["model-index"]
    (result,) = index["results"]
    (line,) = kept.board(tiny.id)
    (metric,) = result["metrics"]
    assert index["name"] == "pid@1" and result["task"]["name"] == tiny.id
    assert result["dataset"] == {"type": "arena", "name": tiny.id, "split": "test", "revision": tiny.digest}
    assert metric["value"] == line["headline"] and metric["verified"] is True and metric["args"]["seeds"] == [0, 1]
    assert (metric["args"]["low"], metric["args"]["high"], metric["args"]["scenarios"]) == (line["lo"], line["hi"], 16)
    assert data["arena"]["hardware"][0]["torch"] and data["arena"]["training"] is None
    assert "| bidding/tiny-v1 | 0.613 [0.145, 1.080] | 0.380 | 16 | 0, 1 | 0 | yes |" in body
    assert body.rstrip().endswith("## In its author's words\n\nPID pacing of the coefficient per slot")


def test_an_agent_that_has_not_played(kept):
    row = kept.ensure_agent("idle", "other", "file", {"reference": "idle.py"})
    data, body = front(agent_card(kept, row).text)
    assert data["model-index"] == [{"name": "idle@1", "results": []}] and "None yet." in body and "author" not in body


def test_the_training_budget_of_shipped_checkpoints(kept):
    net = registry.candidate("pace-net")
    row = kept.ensure_agent(net.name, net.nature, net.kind, net.spec, artifact_digest=net.digest, card=net.summary)
    training = agent_card(kept, row).front["arena"]["training"]
    assert training["checkpoints"] == 3 and training["seeds"] == [0, 1, 2] and training["updates"] == 400 and training["seconds"] > 1000


def test_the_training_budget_of_checkpoints_of_ones_own(kept, tmp_path):
    for seed in (0, 1):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"budget": 200, "seconds": 1.5, "training": {"seed": seed}, "spec": {"a": [1]}}))
    (tmp_path / "config.json").write_text("no json")
    row = kept.ensure_agent("net", "learned", "builtin", {"parameters": {"checkpoint": str(tmp_path)}})
    assert agent_card(kept, row).front["arena"]["training"] == {"checkpoints": 2, "seeds": [0, 1], "seconds": 3.0, "budget": 200}


EVIL = [
    "x\n---\nmodel-index: []\n", "---", "...\n---\n", "\r\n---\r\n", "a: b", "- c", "!!python/object/apply:os.system ['true']", "&a *a",
    "\u2028---\u2028", "'\"\\", "\x85---\x85",
]  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_text_of_users_cannot_leave_its_place(kept, tiny, evil):
    row = kept.ensure_agent(f"name {evil}", f"other {evil}", f"file {evil}", {"x": 1}, domain=evil, tags=[evil, "b"], card=f"{evil}\n{evil}")
    card = agent_card(kept, row)
    data, body = front(card.text)
    assert data == card.front and evil in data["tags"] and data["model-index"][0]["name"] == f"name {evil}@1"
    assert body.count("## In its author's words") == 1 and evil.strip() in body.partition("## In its author's words")[2]


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.text(st.sampled_from("-\n\r: #'\"x\u2028"), max_size=12))
def test_any_text_comes_back_from_the_front_matter(tmp_path_factory, first, second):
    from arena.cards import _yaml

    data, _ = front(f"---\n{_yaml({'a': [first, second], 'b': {'c': second}})}---\n\nbody")
    assert data == {"a": [first, second], "b": {"c": second}}
