from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arena.bundle.form import content_of, public, public_spec, public_text


@pytest.mark.parametrize(
    ("given_", "leaves"),
    [
        ("/home/ann/my agents/pacer.py:Pacer", "pacer.py:Pacer"),
        ("~/agents/pacer.py", "pacer.py"),
        ("C:\\Users\\Ann\\pacer.py:Pacer", "pacer.py:Pacer"),
        ("net(checkpoint=/home/ann/net/seed-0,kp=1/3)", "net(checkpoint=seed-0,kp=1/3)"),
        ("bidding/standard-v1", "bidding/standard-v1"),
        ("agents.bidding.classical:Pid", "agents.bidding.classical:Pid"),
        ("https://ann:pw@host:8000/act?token=abc#x", "https://host:8000/act"),
        ("https://host/a/b", "https://host/a/b"),
        ("a / b and 3/4 or and/or", "a / b and 3/4 or and/or"),
        ("no path at all", "no path at all"),
    ],
)
def test_names_lose_their_folders_and_secrets(given_, leaves):
    assert public(given_) == leaves == public(leaves)


def test_specifications_lose_what_is_secret_by_its_key():
    spec = {
        "registered": True, "source": "https://host/act", "folder": "/home/ann/work",
        "parameters": {
            "token": "abc", "API_KEY": "k", "auth_token": 1, "token_env": "MY_TOKEN", "password": {"a": 1}, "tokens": 7, "list": ["/a/b/c", 1.5],
        },
    }  # fmt: skip
    assert public_spec(spec) == {
        "source": "https://host/act", "folder": "work", "parameters": {"token_env": "MY_TOKEN", "tokens": 7, "list": ["c", 1.5]}
    }  # fmt: skip


def test_messages_lose_their_folders_and_keep_their_words():
    story = 'ValueError: no /data/ann/model.bin here\n  File "/home/ann/my dir/pacer.py", line 3, in act\n    a = b / c  # see https://u:p@h/x?y=1'
    told = public_text(story)
    assert told == 'ValueError: no model.bin here\n  File "pacer.py", line 3, in act\n    a = b / c  # see https://h/x'


TEXT = st.text(st.sampled_from("/\\~:ab .,()'\"=@?#\n-Cé"), max_size=24)


@settings(max_examples=200)
@given(TEXT)
@example("/a/b://x@y/z")
@example("//a/b")
def test_what_has_left_once_leaves_as_it_is(text):
    """Else an agent that came in would be another one when it leaves again."""
    once, told = public(text), public_text(text)
    assert public(once) == once and public_text(told) == told


@settings(max_examples=60)
@given(st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2), max_size=3))
def test_an_agent_keeps_its_digest_when_it_leaves(spec):
    agent = {"nature": "other", "kind": "file", "domain": None, "artifact_digest": None, "spec": spec}
    assert content_of(agent) == content_of({**agent, "spec": public_spec(spec)})
