"""What the tests of the client share: a server on this machine, and clients of it whose waits are short."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from arena.chat import endpoint as endpoints
from arena.chat.cache import Cache
from arena.chat.client import ChatClient, Question
from arena.chat.endpoint import Endpoint
from arena.chat.options import Options
from arena.chat.transcripts import Place, Transcript

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("loopback", HERE / "loopback.py")
loopback = sys.modules.setdefault("loopback", importlib.util.module_from_spec(spec))
if not hasattr(loopback, "Loopback"):
    spec.loader.exec_module(loopback)


@pytest.fixture
def server():
    served = loopback.Loopback()
    yield served
    served.stop()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No settings, keys or proxies of the user's own, and waits that a test can afford."""
    for name in [name for name in os.environ if name.startswith(("ARENA_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.001)


@pytest.fixture
def client(server, tmp_path):
    """`client(concurrency=4, ...)`: a client of the server; cache and transcript lie in the test's own folder."""
    made = []

    def make(url=None, model="toy", key_env="OPENAI_API_KEY", version="1", name="run", **options):
        chosen = Options(**options)
        place = Endpoint(url or server.url, model, key_env, chosen.timeout, chosen.concurrency)
        made.append(ChatClient(place, chosen, Cache(tmp_path / "answers.sqlite"), Transcript(tmp_path / f"{name}.sqlite"), version))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def question():
    """`question("text", scenario)` at temperature 0."""

    def make(text="which?", scenario=0, sample="", **more):
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0.0, "max_tokens": 8, **more}
        return Question(Place(scenario, 0), body, sample)

    return make
