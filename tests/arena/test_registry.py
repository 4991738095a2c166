from __future__ import annotations

import sys
import textwrap
from types import SimpleNamespace

import pytest
from toy_domains import Planner

from arena import registry
from arena.agent import Agent, Vectorised
from arena.errors import ArenaError

# ---- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("pid", ("pid", None, {})),
        ("pid@2", ("pid", 2, {})),
        (" pid@12( kp = 0.3 , ki=-1e-3 ) ", ("pid", 12, {"kp": 0.3, "ki": -1e-3})),
        ("x(a=[1, 2],b='u v',c=(1,2),d=no,e=True,f=false)", ("x", None, {"a": [1, 2], "b": "u v", "c": (1, 2), "d": "no", "e": True, "f": False})),
        ("bidding/ipinyou-1458-v1(c0=1/32,n=500)", ("bidding/ipinyou-1458-v1", None, {"c0": 1 / 32, "n": 500})),
        ("x()", ("x", None, {})),
        ("some/dir/file.py:Cls(k=3)", ("some/dir/file.py:Cls", None, {"k": 3})),
    ],
)
def test_parsing(text, parsed):
    assert registry.parse(text) == parsed


@pytest.mark.parametrize("text", ["", "pid(", "pid(kp)", "pid(2=3)", "pid(kp=1", "pid@x", "pid(kp=1) and more", "pid(kp=1,kp=2)"])
def test_what_is_no_reference(text):
    with pytest.raises(ArenaError) as error:
        registry.parse(text)
    assert error.value.code == "reference"


def test_a_parameter_is_never_code(tmp_path):
    target = tmp_path / "made"
    assert registry.parse(f"x(a=__import__('os').mkdir('{target}'))")[2]["a"].startswith("__import__") and not target.exists()


# ---- what is known ----------------------------------------------------------------------------------------------------


def test_unknown_names_suggest_near_ones():
    for look, near in ((lambda: registry.candidate("pidd"), "pid"), (lambda: registry.task("bidding/tinny"), "bidding/tiny-v1")):
        with pytest.raises(ArenaError) as error:
            look()
        assert error.value.code.startswith("unknown.") and near in error.value.context["nearest"] and error.value.exit_code == 6
    with pytest.raises(ArenaError, match="no domain is called 'biding'"):
        registry.task("biding/tiny")


def test_a_name_without_version_is_the_newest():
    assert registry.task("bidding/standard").id == registry.task("bidding/standard-v1").id


def fails():
    raise ImportError("no module named quantum\nmore")


@pytest.mark.parametrize(
    ("load", "domain", "agents"),
    [
        (fails, "ImportError: no module named quantum", "ImportError: no module named quantum"),
        (lambda: sys.exit(3), "SystemExit: 3", "SystemExit: 3"),
        (
            lambda: SimpleNamespace(DOMAIN=3, AGENTS=[3]),
            "TypeError: DOMAIN holds something that is no DomainSpec",
            "TypeError: AGENTS holds something that is no AgentSpec",
        ),
    ],
)
def test_a_plugin_that_fails_is_listed_as_broken_and_breaks_nothing(monkeypatch, load, domain, agents):
    class Point:
        name = "aaa"

        def load(self):
            return load()

    real = registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda group: [*real(group=group), Point()])
    monkeypatch.setattr(registry, "broken", {})
    registry._plugins.cache_clear()
    try:
        assert "bidding" in registry.domains() and "pid" in registry.agents()
        assert registry.broken == {"arena.domains: aaa": domain, "arena.agents: aaa": agents}
    finally:
        monkeypatch.undo()
        registry._plugins.cache_clear()


@pytest.mark.parametrize("name", ["", "-x", "Pid", "a" * 65, "naïve", "a b"])
def test_names_that_are_none(name):
    with pytest.raises(ArenaError) as error:
        registry.agent(name)
    assert error.value.code == "agent.name"


def test_the_decorator_registers_for_this_process():
    found = registry.candidate("toy-planner")
    assert isinstance(found.make(), Planner) and found.summary == "A tax of 0.3." and found.plays("anything/at-all-v1")


# ---- identity ---------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_decides_play():
    digests = [registry.candidate(name).digest for name in ("pid", "pid(kp=0.3)", "pid(kp=0.4)", "lin")]
    assert len(set(digests)) == 4
    assert registry.candidate("pid").digest == registry.candidate("pid").digest
    assert registry.candidate("pid(kp=0.3,ki=0.1)").digest == registry.candidate("pid( ki=0.1, kp=0.3 )").digest


@pytest.mark.parametrize(("reference", "message"), [("pid(kq=1)", "parameter kq = 1"), ("pid(kp=high)", "parameter kp = 'high'")])
def test_parameters_are_checked(reference, message):
    with pytest.raises(ArenaError, match=message) as error:
        registry.candidate(reference).make()
    assert error.value.code == "agent.parameters" and "kp" in error.value.hint


@pytest.mark.parametrize("reference", ["rlb(x=1)", "resolve(checkpoint=here)", "lin(b0=nan)", "pid(kp=inf)"])
def test_parameters_that_no_agent_can_have(reference):
    with pytest.raises(ArenaError) as error:
        registry.candidate(reference).make()
    assert error.value.code == "agent.parameters"


def test_parameters_are_cast_as_their_types_say():
    assert registry.candidate("const(bid='60')").make().fixed == 60


# ---- files ------------------------------------------------------------------------------------------------------------


def write(tmp_path, source, name="mine.py"):
    path = tmp_path / name
    path.write_text(textwrap.dedent(source))
    return path


def test_a_file_with_one_class_needs_no_name(tmp_path):
    path = write(tmp_path, "import math\n\nclass My_Agent:\n    def __init__(self, k: int = 2): self.k = k\n    def act(self, obs): return self.k\n")
    found = registry.candidate(f"{path}(k=3)")
    made = found.make()
    assert isinstance(made, Vectorised) and (found.name, found.kind) == ("mine(k=3)", "file")
    assert registry.candidate(f"{path}:My_Agent").name == "my_agent"
    before = registry.candidate(str(path)).digest
    path.write_text(path.read_text() + "\n# changed\n")
    assert registry.candidate(str(path)).digest != before, "another file is another agent"


def test_files_of_one_name_do_not_mix(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    made = [registry.candidate(str(write(tmp_path / d, f"def f(obs):\n    return {k}\n"))).make() for k, d in enumerate("ab")]
    for k, agent in enumerate(made):
        assert agent.make()(None) == k
    assert "mine" not in sys.modules


def test_a_batched_class_by_inheritance_or_by_word(tmp_path):
    path = write(
        tmp_path,
        """
        from arena.agent import Agent
        class Heir(Agent): ...
        class Says:
            batched = True
        class One:
            mode = "slot"
            def act(self, obs): return 0
        """,
    )
    heir, says, one = (registry.candidate(f"{path}:{name}").make() for name in ("Heir", "Says", "One"))
    assert isinstance(heir, Agent) and not isinstance(heir, Vectorised) and type(says).__name__ == "Says"
    assert isinstance(one, Vectorised) and one.mode == "slot"


@pytest.mark.parametrize(
    ("source", "attribute", "code", "message"),
    [
        ("def a(obs): ...\ndef b(obs): ...\n", "", "agent.incompatible", "defines a, b"),
        ("x = 3\n", "", "agent.incompatible", "defines nothing callable"),
        ("x = 3\n", ":x", "agent.incompatible", "is a int"),
        ("def bidder(obs): ...\n", ":biddr", "unknown.attribute", "biddr"),
        ("import nothing_of_that_name\n", "", "agent.incompatible", "cannot be imported: ModuleNotFoundError"),
        ("def f(:\n", "", "agent.incompatible", "SyntaxError"),
        ("import sys\nsys.exit(0)\n", ":f", "agent.incompatible", "cannot be imported: SystemExit: 0"),
        ("class Idle: ...\n", ":Idle", "agent.incompatible", r"has no act\(obs\)"),
    ],
)
def test_files_that_hold_no_agent(tmp_path, source, attribute, code, message):
    with pytest.raises(ArenaError, match=message) as error:
        registry.candidate(f"{write(tmp_path, source)}{attribute}").make()
    assert error.value.code == code


def test_a_file_that_is_not_there():
    with pytest.raises(ArenaError, match="there is no file nowhere.py") as error:
        registry.candidate("nowhere.py:Agent")
    assert error.value.code == "unknown.file" and error.value.exit_code == 6


def test_entry_points_are_looked_up_once(monkeypatch):
    registry.domains()
    monkeypatch.setattr(registry, "entry_points", lambda group: pytest.fail("cached"))
    assert SimpleNamespace(**registry.domains()["bidding"].__dict__).name == "bidding"
