"""ONNX agents: what goes in, what comes out as which action, what does not fit and why, and that a file is only its own bytes."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import toy_domains as toys
from gymnasium import spaces
from onnx import TensorProto, helper, numpy_helper

from arena import registry
from arena.adapters.onnx import OnnxAgent
from arena.agent import Agent
from arena.domain import Mode
from arena.errors import ArenaError
from arena.isolation.host import Isolated

FLOAT, DOUBLE, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL
TINY = "bidding/tiny-v1"
DOC = Path(__file__).parents[3] / "docs" / "agents.md"


def graph(inputs, outputs, nodes, domains=(), **weights):
    """A model: inputs and outputs as (name, dtype, shape), nodes as (op, takes, gives) or with attributes, initializers by name."""
    info = [[helper.make_tensor_value_info(*item) for item in group] for group in (inputs, outputs)]
    made = [helper.make_node(op, takes, gives, **(rest[0] if rest else {})) for op, takes, gives, *rest in nodes]
    held = [value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(helper.make_graph(made, "policy", *info, held), opset_imports=opsets)
    model.ir_version = 10
    return model


def linear(weights, batch="rows", name="x", width=None, kind=FLOAT):
    """name [rows, k] -> y [rows, n] = name @ weights."""
    weights = np.asarray(weights, np.float64 if kind == DOUBLE else np.float32)
    ends = [(name, kind, [batch, width or weights.shape[0]])], [("y", kind, [batch, weights.shape[1]])]
    return graph(*ends, [("MatMul", [name, "W"], ["y"])], W=weights)


@pytest.fixture
def agent(tmp_path):
    """`agent(model, mode)`: the model through a file."""

    def make(model, mode=None, name="model.onnx"):
        path = tmp_path / name
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return OnnxAgent(path, mode)

    return make


class Weighted(Agent):
    """The slot mode by hand: the action is features @ weights."""

    mode = "slot"

    def __init__(self, weights):
        self.weights = torch.tensor(weights)

    def act(self, obs):
        return (obs["features"] @ self.weights)[:, 0]


@pytest.fixture(scope="module")
def weights():
    width = registry.task(TINY).domain.roles[0].mode("slot").observation_space["features"].shape[0]
    return np.random.default_rng(0).normal(0, 0.01, (width, 1)).astype(np.float32)


# ---- what goes in and comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["rows", None, 1, 3, 16, 64])
@pytest.mark.parametrize("name", ["features", "obs"])
def test_a_policy_of_one_entry_plays_as_the_same_policy_in_torch(agent, played, tiny, weights, batch, name):
    model = agent(linear(weights, batch, name), "slot")
    model.check(tiny.view)
    ours, theirs = played(tiny, {"bidder": model}), played(tiny, {"bidder": Weighted(weights)})
    assert not ours.failures and not ours.crashes
    assert np.array_equal(ours.actions["bidder"], theirs.actions["bidder"])


def test_inputs_by_name_take_entries_cast_and_integers_are_the_action(agent, played, tiny):
    """bid = int(theta * 300), theta as float32 [rows, 1], b as int64 [rows]: bids of 0 where nothing is left."""
    model = graph(
        [("theta", FLOAT, ["rows", 1]), ("b", INT64, ["rows"])],
        [("bid", INT64, ["rows"])],
        [
            ("Squeeze", ["theta", "one"], ["flat"]), ("Mul", ["flat", "scale"], ["raw"]), ("Cast", ["raw"], ["whole"], {"to": INT64}),
            ("Min", ["whole", "b", "top"], ["bid"]),
        ],
        one=np.array([1]), scale=np.float32(3e5), top=np.int64(300),
    )  # fmt: skip

    class Same(Agent):
        def act(self, obs):
            return torch.minimum((obs["theta"].float() * 3e5).long(), obs["b"]).clamp(max=300)

    found = agent(model)
    found.check(tiny.view)
    ours, theirs = played(tiny, {"bidder": found}), played(tiny, {"bidder": Same()})
    assert not ours.failures and len(np.unique(ours.actions["bidder"])) > 3
    assert np.array_equal(ours.actions["bidder"], theirs.actions["bidder"])


def test_one_input_gets_all_entries_joined_in_the_order_of_the_space(agent):
    task = registry.task(TINY)
    space = task.domain.roles[0].modes[0].observation_space
    names = list(space.spaces)
    found = agent(linear(np.eye(len(names), 301), name="obs"))
    found.check(task.view)
    plan = found._plan(space, task.domain.roles[0].modes[0].action_space)
    flat = {name: np.array([i, 10 * i]) for i, name in enumerate(names)}
    assert plan.feeds[0].value(flat).tolist() == [list(range(len(names))), [10 * i for i in range(len(names))]]
    assert plan.feeds[0].value(flat).dtype == np.float32


@pytest.mark.parametrize("takes_mask", [False, True])
def test_the_mask_decides_between_logits_and_is_an_input_only_by_name(agent, played, takes_mask):
    """Logits prefer left, then right: at place 0 left is masked, so right is played, then left again, to and fro."""
    task = toys.walk()
    nodes = [("Mul", ["obs", "nothing"], ["zero"]), ("Add", ["zero", "likes"], ["logits"])]
    inputs = [("obs", FLOAT, ["rows", 1])]
    if takes_mask:
        inputs, nodes = [*inputs, ("action_mask", BOOL, ["rows", 3])], [*nodes, ("Cast", ["action_mask"], ["unused"], {"to": FLOAT})]
    model = graph(inputs, [("logits", FLOAT, ["rows", 3])], nodes, nothing=np.float32(0), likes=np.float32([0, 2, 1]))
    found = agent(model)
    found.check(task.view)
    ours = played(task, {"walker": found})
    assert not ours.failures and set(np.unique(ours.actions["walker"])) == {1, 2}


def test_seats_are_rows(agent, played):
    """Workers in two and four seats: effort 3 where skill allows it, told by logits; `live` is there for every seat."""
    task = toys.village(("worker",), {"planner": "toy-planner"})
    model = graph(
        [("skill", DOUBLE, ["n"]), ("live", FLOAT, ["n"])],
        [("logits", DOUBLE, ["n", 4])],
        [("Cast", ["live"], ["alive"], {"to": DOUBLE}), ("Mul", ["skill", "alive"], ["x"]), ("Reshape", ["x", "shape"], ["column"]),
         ("MatMul", ["column", "W"], ["logits"])],
        shape=np.array([-1, 1]), W=np.array([[0.0, 1, 2, 3]]),
    )  # fmt: skip
    found = agent(model)
    found.check(task.view)
    for rows, seats in ((range(3), 2), (range(3, 7), 4)):
        ours = played(task, {"worker": found, "planner": toys.Planner()}, rows)
        assert not ours.failures, ours.failures[0].detail
        assert ours.actions["worker"].shape[1:] == (len(rows), seats)
        skill = task.sample("test", rows).skill.numpy()
        assert np.array_equal(ours.actions["worker"][0], np.where(skill > 0.5, 3, 2))


def space_of(action, seen=None):
    return Mode("one", spaces.Dict(seen or {"x": spaces.Box(-1, 1, (2,), np.float32)}), action)


@pytest.mark.parametrize(
    ("action", "weights", "expected"),
    [
        (spaces.Discrete(3, start=5), [[0, 1, 2], [0, 0, 0]], 7),
        (spaces.MultiDiscrete([2, 3]), [[1, 0, 0, 0, 1], [0, 0, 0, 0, 0]], [0, 2]),
        (spaces.MultiDiscrete([2, 3], start=[1, -1]), [[1, 0, 0, 0, 1], [0, 0, 0, 0, 0]], [1, 1]),
        (spaces.MultiBinary(3), [[1, -1, 2], [0, 0, 0]], [1, 0, 1]),
        (spaces.Box(-9, 9, (2,), np.float64), [[1, -1], [2, 2]], [1, -1]),
        (spaces.Box(-9, 9, (), np.float32), [[1], [2]], 1.0),
    ],
)
def test_decoding(agent, action, weights, expected):
    found = agent(linear(weights))
    mode = space_of(action)
    plan = found._plan(mode.observation_space, mode.action_space)
    given = found._run(plan.output, {"x": np.array([[1, 0]] * 4, np.float32)}, 4, 0)
    decoded = plan.decode(given, None)
    assert decoded.shape == (4, *action.shape) and np.array_equal(decoded[0], expected)
    assert decoded.dtype.kind == ("f" if isinstance(action, spaces.Box) else "i")


def test_logits_that_are_no_numbers_lose_their_row_only(agent, played):
    """0 / (place - 2) is NaN exactly at place 2."""
    task = toys.walk()
    nodes = [
        ("Sub", ["place", "two"], ["d"]), ("Cast", ["d"], ["f"], {"to": FLOAT}), ("Div", ["zero", "f"], ["q"]), ("Reshape", ["q", "shape"], ["c"]),
        ("Add", ["c", "likes"], ["logits"]),
    ]  # fmt: skip
    weights = {"two": np.int64(2), "zero": np.float32(0), "shape": np.array([-1, 1]), "likes": np.float32([0, 1, 2])}
    found = agent(graph([("place", INT64, ["rows"])], [("logits", FLOAT, ["rows", 3])], nodes, **weights))
    ours = played(task, {"walker": found})
    assert [action.shape for action in found.act({"place": torch.tensor([2, 0]), "live": torch.ones(2), **masks(2)})] == [(), ()]
    goal = task.sample("test", range(task.n)).goal
    assert {failure.row for failure in ours.failures} == {row for row in range(task.n) if goal[row] > 2}
    assert {failure.code for failure in ours.failures} == {"agent.illegal"} and "nan" in ours.failures[0].detail


def masks(rows):
    return {"action_mask": torch.ones(rows, 3, dtype=torch.int8)}


def test_a_row_without_a_choice_fails_alone_in_a_process_of_its_own_too(agent, played, tiny):
    """NaN for unlikely clicks: the same rows fail in the same step here and there."""
    likes = np.zeros((1, 301))
    likes[0, 5] = 1
    nodes = [("Sub", ["theta", "c"], ["d"]), ("Sqrt", ["d"], ["s"]), ("Reshape", ["s", "shape"], ["col"]), ("Add", ["col", "likes"], ["logits"])]
    weights = {"c": np.float64(0.0004), "shape": np.array([-1, 1]), "likes": likes}
    here = agent(graph([("theta", DOUBLE, ["n"])], [("logits", DOUBLE, ["n", 301])], nodes, **weights))
    there = Isolated({"kind": "onnx", "label": "nan", "path": str(here.path), "parameters": {}}, "nan", tiny.view)
    ours, theirs = (played(tiny, {"bidder": one}) for one in (here, there))
    there.close()
    assert 0 < len(ours.failures) < tiny.n and ours.failures == theirs.failures


def test_the_export_of_the_docs_plays(played, tiny, tmp_path, monkeypatch):
    code = next(block for block in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL) if "torch.onnx.export" in block)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    found = OnnxAgent("policy.onnx", mode="slot")
    found.check(tiny.view)
    assert not played(tiny, {"bidder": found}).failures


# ---- what does not fit -----------------------------------------------------------------------------------------------------


def refusal(model, task, *words):
    with pytest.raises(ArenaError) as error:
        model.check(task.view)
    assert error.value.code == "agent.incompatible" and error.value.exit_code == 2
    for word in words:
        assert word in str(error.value), str(error.value)
    return str(error.value)


def test_misfits_say_what_was_expected(agent, tiny, weights):
    width = len(weights)
    refusal(agent(linear(np.ones((5, 1))), "slot"), tiny, "'x' tensor(float) [rows, 5]", f"expected [rows, {width}]", "features")
    refusal(agent(linear(np.ones((width, 7))), "slot"), tiny, "'y' is float32 [2, 7]", "expected floats [rows, 1]", "Box(-4.0, 4.0")
    refusal(agent(linear(weights)), tiny, "fits mode 'slot'", "mode='slot'", "expected [rows, 7] for B, b, campaign")
    refusal(agent(linear(weights), "nosuch"), tiny, "no mode 'nosuch'", "impression, slot", "fits mode 'slot'")
    whole = graph([("theta", INT32, ["n"])], [("y", INT32, ["n"])], [("Identity", ["theta"], ["y"])])
    refusal(agent(whole), tiny, "cannot hold theta (float64, [])")
    foreign = graph([("a", FLOAT, ["n", 7]), ("theta", FLOAT, ["n"])], [("y", FLOAT, ["n"])], [("Identity", ["theta"], ["y"])])
    refusal(agent(foreign), tiny, "'a'", "no entry")
    floats = graph([("b", INT64, ["n"])], [("y", FLOAT, ["n"])], [("Cast", ["b"], ["y"], {"to": FLOAT})])
    refusal(agent(floats), tiny, "float32 [2]", "integers [rows] or logits [rows, 301]")
    half = graph([("b", TensorProto.FLOAT16, ["n"])], [("y", FLOAT, ["n"])], [("Cast", ["b"], ["y"], {"to": FLOAT})])
    refusal(agent(half), tiny, "float16", "int64")
    two = graph([("b", INT64, ["n"])], [("u", INT64, ["n"]), ("v", INT64, ["n"])], [("Identity", ["b"], ["u"]), ("Identity", ["b"], ["v"])])
    refusal(agent(two), tiny, "'u'", "'v'", "called action")
    hidden = graph([("b", INT64, ["n"])], [("y", INT64, None)], [("Reshape", ["b", "s"], ["y"])], s=np.array([1]))
    refusal(agent(hidden), tiny, "dynamic batch axis")
    constant = graph([("b", INT64, ["n"])], [("y", INT64, [1])], [("ReduceMin", ["b"], ["m"]), ("Reshape", ["m", "s"], ["y"])], s=np.array([1]))
    refusal(agent(constant), tiny, "int64 [1] for 2 rows", "dynamic batch axis")
    unequal = graph([("b", INT64, [1]), ("n", INT64, ["n"])], [("y", INT64, ["n"])], [("Add", ["b", "n"], ["y"])])
    refusal(agent(unequal), tiny, "batch sizes")


def test_of_several_outputs_the_one_called_action_counts(agent, tiny):
    nodes = [("Identity", ["b"], ["value"]), ("Sub", ["b", "b"], ["action"])]
    found = agent(graph([("b", INT64, ["n"])], [("value", INT64, ["n"]), ("action", INT64, ["n"])], nodes))
    found.check(tiny.view)
    assert found._plan(tiny.domain.roles[0].modes[0].observation_space, tiny.domain.roles[0].modes[0].action_space).output == "action"


class Explodes:
    def __reduce__(self):
        return os._exit, (7,)


def test_what_is_no_model_is_refused_in_one_line(agent, weights, tmp_path, monkeypatch):
    whole = linear(weights).SerializeToString()
    cases = {
        "empty": b"", "text": b"import os\n", "truncated": whole[: len(whole) // 2], "noise": np.random.default_rng(1).bytes(5000),
        "pickle": pickle.dumps(Explodes()), "zip": b"PK\x03\x04" + bytes(100), "other": onnx.TensorProto(dims=[1]).SerializeToString(),
        "unknown": graph([("x", FLOAT, [1])], [("y", FLOAT, [1])], [("Nope", ["x"], ["y"])]).SerializeToString(),
        "custom": graph([("x", FLOAT, [1])], [("y", FLOAT, [1])], [("Foo", ["x"], ["y"], {"domain": "my.ops"})], ("my.ops",)).SerializeToString(),
    }  # fmt: skip
    for name, data in cases.items():
        with pytest.raises(ArenaError) as error:
            agent(data, name=f"{name}.onnx")
        assert error.value.code == "agent.incompatible" and "\n" not in error.value.message and name in error.value.message
    monkeypatch.setattr("arena.adapters.onnx.MAX_BYTES", len(whole) - 1)
    with pytest.raises(ArenaError, match="at most") as error:
        agent(whole)
    assert error.value.code == "agent.incompatible"
    with pytest.raises(ArenaError) as error:
        OnnxAgent(tmp_path / "nothing.onnx")
    assert error.value.code == "unknown.file"


def test_a_flipped_byte_never_ends_the_process(agent, weights, tiny):
    whole = bytearray(linear(weights).SerializeToString())
    rng, refused = np.random.default_rng(3), 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            agent(bytes(damaged), "slot").check(tiny.view)
        except ArenaError as error:
            assert error.code == "agent.incompatible"
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("where", ["initializer", "constant"])
@pytest.mark.parametrize("location", ["weights.bin", "absolute", "../weights.bin", "nothing.bin"])
def test_weights_in_other_files_are_never_read(agent, tmp_path, monkeypatch, where, location):
    """Neither beside the model nor in the current folder: without a guard onnxruntime finds them there."""
    folder = tmp_path / "here"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "weights.bin").write_bytes(np.ones(6, np.float32).tobytes())
    monkeypatch.chdir(folder)
    tensor = numpy_helper.from_array(np.zeros((3, 2), np.float32), "W")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", str(tmp_path / "weights.bin") if location == "absolute" else location), ("offset", "0"), ("length", "24")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    ends = [("x", FLOAT, ["rows", 3])], [("y", FLOAT, ["rows", 2])]
    if where == "constant":
        model = graph(*ends, [("Constant", [], ["W"], {"value": tensor}), ("MatMul", ["x", "W"], ["y"])])
    else:
        model = graph(*ends, [("MatMul", ["x", "W"], ["y"])], W=tensor)
    with pytest.raises(ArenaError) as error:
        agent(model)
    assert error.value.code == "agent.incompatible" and "kept in other files" in str(error.value) and "embed" in error.value.hint
