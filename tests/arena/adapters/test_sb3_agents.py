"""Converted Stable-Baselines3 models against SB3's own `predict`, for every algorithm, space and normalisation; and all that is refused."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import toy_domains as toys
from gymnasium import spaces
from jsonschema import Draft202012Validator
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from arena.adapters import sb3_convert
from arena.adapters.sb3 import WHOLE, Sb3Agent, load
from arena.adapters.space_documents import space_document
from arena.agent import Agent
from arena.cli import main as arena
from arena.errors import ArenaError
from arena.faces.sb3 import ArenaVecEnv
from arena.learning.checkpoints import save_checkpoint

VECTOR = spaces.Box(-np.inf, np.inf, (5,), np.float32)
MIXED = spaces.Dict(
    {
        "b": spaces.Box(0, 3, (1,), np.int64), "a": spaces.Box(-1, 1, (2, 2), np.float64), "class": spaces.Discrete(3),
        "classes": spaces.MultiDiscrete([2, 4]), "flags": spaces.MultiBinary(3),
    }
)  # fmt: skip
UNEVEN = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))


class World(gymnasium.Env):
    """Random observations of a space; nothing matters."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), float(self.np_random.normal()), self.np_random.random() < 0.1, False, {}


def on_policy(kind, **policy):
    extra = {name: policy.pop(name) for name in ("use_sde",) if name in policy}
    return partial(kind, n_steps=8, device="cpu", policy_kwargs=policy, **({"batch_size": 8} if kind is PPO else {}), **extra)


def off_policy(kind, **more):
    return partial(kind, learning_starts=8, batch_size=8, buffer_size=50, device="cpu", **more)


# name: (how it is made, observation, action, with VecNormalize)
MODELS = {
    "ppo box": (on_policy(PPO), VECTOR, UNEVEN, False),
    "ppo normalised": (on_policy(PPO), VECTOR, UNEVEN, True),
    "ppo mixed": (on_policy(PPO, net_arch={"pi": [7], "vf": [3, 3]}, activation_fn=nn.ELU), MIXED, spaces.Discrete(6), False),
    "ppo mixed normalised": (on_policy(PPO), MIXED, spaces.Discrete(6), True),
    "ppo multi": (on_policy(PPO, activation_fn=nn.LeakyReLU), VECTOR, spaces.MultiDiscrete([2, 5, 3]), False),
    "ppo binary": (on_policy(PPO, activation_fn=nn.SiLU), VECTOR, spaces.MultiBinary(4), False),
    "ppo linear": (on_policy(PPO, net_arch=[]), VECTOR, spaces.Box(-2, 2, (2, 3), np.float64), False),
    "ppo sde": (on_policy(PPO, use_sde=True), VECTOR, UNEVEN, False),
    "ppo sde squashed": (on_policy(PPO, use_sde=True, squash_output=True), VECTOR, UNEVEN, False),
    "a2c": (on_policy(A2C), MIXED, spaces.Discrete(4), False),
    "sac": (off_policy(SAC), VECTOR, UNEVEN, False),
    "sac sde": (off_policy(SAC, use_sde=True, policy_kwargs={"clip_mean": 0.7}), MIXED, UNEVEN, False),
    "td3": (off_policy(TD3, policy_kwargs={"net_arch": [9, 5]}), MIXED, UNEVEN, True),
    "ddpg": (off_policy(DDPG), VECTOR, UNEVEN, False),
    "dqn": (off_policy(DQN), VECTOR, spaces.Discrete(7), True),
    "dqn mixed": (off_policy(DQN), MIXED, spaces.Discrete(7), False),
}


def trained(name):
    """The model after some steps, its weights stirred so that actions differ; and the normaliser."""
    make, seen, action, normalised = MODELS[name]
    env = DummyVecEnv([lambda: World(seen, action)])
    if normalised:
        keys = ["a", "b"] if isinstance(seen, spaces.Dict) else None
        env = VecNormalize(env, clip_obs=2.0, norm_obs_keys=keys)
    torch.manual_seed(0)
    model = make("MultiInputPolicy" if isinstance(seen, spaces.Dict) else "MlpPolicy", env, seed=0)
    model.learn(40)
    with torch.no_grad():
        for tensor in model.policy.parameters():
            tensor.add_(0.3 * torch.randn(tensor.shape))
    return model, env if normalised else None


def drawn(space, n=300, seed=1):
    space.seed(seed)
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {name: np.stack([sample[name] for sample in samples]) for name in space.spaces}
    return np.stack(samples)


@pytest.mark.parametrize("name", MODELS)
def test_play_equals_predict(name, tmp_path):
    model, normaliser = trained(name)
    model.save(tmp_path / "model.zip")
    if normaliser is not None:
        normaliser.save(str(tmp_path / "stats.pkl"))
    algorithm = sb3_convert.algorithm_of(tmp_path / "model.zip")
    assert algorithm == type(model).__name__ or (algorithm, type(model)) == ("TD3", DDPG)
    found = sb3_convert.main(str(tmp_path / "model.zip"), str(tmp_path / "out"), algorithm, str(tmp_path / "stats.pkl") if normaliser else "")
    assert found["difference"] <= 1e-6 and found["source"]["steps"] == model.num_timesteps >= 40
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json"] + [".safetensors"] * (1 + bool(normaliser))
    policy, seen = load(tmp_path / "out"), drawn(model.observation_space)
    theirs, _ = model.predict(normaliser.normalize_obs(seen) if normaliser else seen, deterministic=True)
    ours = policy(seen if isinstance(seen, dict) else {WHOLE: seen})
    assert ours.shape == theirs.shape and len(np.unique(theirs, axis=0)) > 3, "the model tells observations apart"
    assert np.abs(ours - theirs).max() <= 1e-6
    if isinstance(model.action_space, spaces.Box):
        assert ours.dtype == theirs.dtype


def test_maskable_ppo(tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    seen = spaces.Dict({"action_mask": spaces.MultiBinary(3), "place": spaces.Box(0, 20, (1,), np.int64)})
    env = DummyVecEnv([lambda: World(seen, spaces.Discrete(3))])
    model = contrib.MaskablePPO("MultiInputPolicy", env, n_steps=8, batch_size=8, seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    algorithm = sb3_convert.algorithm_of(tmp_path / "model.zip")
    assert algorithm == "MaskablePPO"
    assert sb3_convert.main(str(tmp_path / "model.zip"), str(tmp_path / "out"), algorithm, "")["difference"] == 0
    mask = np.random.default_rng(0).random((300, 3)) < 0.5
    mask[:, 1] = True
    drawn_now = drawn(seen) | {"action_mask": mask.astype(np.int8)}
    theirs, _ = model.predict(drawn_now, deterministic=True, action_masks=mask)
    ours = load(tmp_path / "out")(drawn_now, mask)
    assert np.array_equal(ours, theirs) and mask[np.arange(300), ours].all()
    Sb3Agent(tmp_path / "out").check(toys.walk().view)


# ---- through the platform ------------------------------------------------------------------------------------------------------


class Predicts(Agent):
    """SB3's own predict, as an agent of the slot mode."""

    mode = "slot"

    def __init__(self, model, normaliser):
        self.model, self.normaliser = model, normaliser

    def act(self, obs):
        return self.model.predict(self.normaliser.normalize_obs(obs["features"].numpy()), deterministic=True)[0][:, 0]


@pytest.fixture(scope="module")
def pacer(tmp_path_factory):
    """A folder with model.zip, stats.pkl and, converted by the command line in a process of its own, `pacer`; the model; its normaliser."""
    folder = tmp_path_factory.mktemp("pacer")
    env = VecNormalize(ArenaVecEnv("bidding/tiny-v1", 16, mode="slot"), gamma=1.0)
    model = PPO("MlpPolicy", env, n_steps=20, batch_size=320, learning_rate=1e-3, seed=0, device="cpu")
    model.learn(1600)
    model.save(folder / "model.zip")
    env.save(str(folder / "stats.pkl"))
    words = ["--trust", "--normalize", str(folder / "stats.pkl"), "--out", str(folder / "pacer"), "--json"]
    with redirect_stdout(io.StringIO()) as out:
        assert arena(["convert", str(folder / "model.zip"), *words]) == 0
    (folder / "told.json").write_text(out.getvalue())
    return folder, model, env


def test_trained_on_a_face_converted_and_played(pacer, played, tiny):
    folder, model, env = pacer
    agent = Sb3Agent(folder / "pacer", mode="slot")
    agent.check(tiny.view)
    ours, theirs = played(tiny, {"bidder": agent}), played(tiny, {"bidder": Predicts(model, env)})
    assert not ours.failures and len(np.unique(ours.actions["bidder"])) > 10
    assert np.array_equal(ours.actions["bidder"], theirs.actions["bidder"])
    assert np.array_equal(ours.metrics["ratio"], theirs.metrics["ratio"])


def test_a_dictionary_of_scalars_from_a_face(played, tiny, tmp_path):
    """The impression mode shows seven scalars, which the face makes vectors."""
    env = VecNormalize(ArenaVecEnv("bidding/tiny-v1", 8), norm_obs_keys=["b", "B", "n", "price"])
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=64, seed=0, device="cpu")
    model.learn(128)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(200)
    model.save(tmp_path / "model.zip")
    env.save(str(tmp_path / "stats.pkl"))
    sb3_convert.main(str(tmp_path / "model.zip"), str(tmp_path / "out"), "PPO", str(tmp_path / "stats.pkl"))

    class Theirs(Agent):
        def act(self, obs):
            seen = {name: obs[name].numpy()[:, None] for name in env.observation_space.spaces}
            return model.predict(env.normalize_obs(seen), deterministic=True)[0]

    agent = Sb3Agent(tmp_path / "out")
    agent.check(tiny.view)
    ours, theirs = played(tiny, {"bidder": agent}), played(tiny, {"bidder": Theirs()})
    assert not ours.failures and len(np.unique(ours.actions["bidder"])) > 3
    assert np.array_equal(ours.actions["bidder"], theirs.actions["bidder"])


def test_seats_are_rows(played, tmp_path):
    task = toys.village(("worker",), {"planner": "toy-planner"})
    seen = spaces.Dict({"action_mask": spaces.MultiBinary(4), "skill": spaces.Box(0, 1, (1,), np.float64), "tax": spaces.Box(0, 1, (1,), np.float64)})
    model = PPO("MultiInputPolicy", DummyVecEnv([lambda: World(seen, spaces.Discrete(4))]), n_steps=8, batch_size=8, device="cpu")
    with torch.no_grad():  # the likelier the higher the effort; 3 only where the mask has it
        model.policy.mlp_extractor.policy_net = nn.Sequential()
        model.policy.action_net = nn.Linear(6, 4)
        model.policy.action_net.weight.zero_()[3, 3] = 9.0
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 1, 2, -2]))
    weights = {"0.weight": model.policy.action_net.weight, "0.bias": model.policy.action_net.bias}
    save_checkpoint(tmp_path / "out", {"spec": {"agent": "sb3", "version": 1}, "network": network(seen, spaces.Discrete(4))}, {"policy": weights})
    agent = Sb3Agent(tmp_path / "out")
    agent.check(task.view)
    for rows, seats in ((range(3), 2), (range(3, 7), 4)):
        found = played(task, {"worker": agent, "planner": toys.Planner()}, rows)
        assert not found.failures and found.actions["worker"].shape[1:] == (len(rows), seats)
        assert np.array_equal(found.actions["worker"][0], np.where(task.sample("test", rows).skill.numpy() > 0.5, 3, 2))


def network(seen, action, **changes):
    made = {"algorithm": "PPO", "hidden": [], "activation": "Tanh", "limit": None, "squash": False, "normalizer": None}
    return {**made, "observation": space_document(seen), "action": space_document(action), **changes}


def test_playing_needs_no_stable_baselines3(pacer):
    code = "import sys; from arena.adapters.sb3 import Sb3Agent; Sb3Agent(sys.argv[1]); assert 'stable_baselines3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(pacer[0] / "pacer")], check=True, timeout=120)


def test_the_document_of_the_command(pacer):
    document = json.loads((pacer[0] / "told.json").read_text())
    schema = json.loads((Path(sb3_convert.__file__).parents[1] / "cli" / "schemas" / "converted.json").read_text())
    Draft202012Validator(schema).validate(document)
    assert document["algorithm"] == "PPO" and document["hidden"] == [64, 64] and document["normalized"] and document["difference"] <= 1e-6


# ---- before a run --------------------------------------------------------------------------------------------------------------


def refusal(call, code="agent.incompatible"):
    with pytest.raises(ArenaError) as error:
        call()
    assert error.value.code == code, error.value
    return str(error.value)


def test_other_spaces_are_shown_side_by_side(pacer, tiny, tmp_path):
    agent = Sb3Agent(pacer[0] / "pacer")
    text = refusal(lambda: agent.check(tiny.view))
    assert "trained on" in text and "> observation  Box [8]" in text and text.count("\n>") == 1 and "mode='slot'" in text
    seen = tiny.domain.roles[0].mode("slot").observation_space["features"]
    for action, words in (
        (spaces.Box(-3, 4, (1,), np.float32), ("> action       Box [1] low -3.0 high 4.0", "Box [1] low -4.0 high 4.0", "low differs")),
        (spaces.Discrete(301), ("> action       Discrete n 301", "type differs")),
    ):
        outputs = 1 if isinstance(action, spaces.Box) else 301
        parts = {"policy": {"0.weight": torch.zeros(outputs, 8), "0.bias": torch.zeros(outputs)}}
        save_checkpoint(tmp_path / "other", {"spec": {"agent": "sb3", "version": 1}, "network": network(seen, action)}, parts)
        text = refusal(lambda: Sb3Agent(tmp_path / "other", "slot").check(tiny.view))
        assert all(word in text for word in words), text


def test_what_is_no_converted_folder(pacer, tmp_path):
    folder = pacer[0]
    text = refusal(lambda: Sb3Agent(folder / "model.zip"), "checkpoint.pickle")
    assert "arena convert model.zip --trust --out model" in text
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({}))
    refusal(lambda: Sb3Agent(tmp_path / "weights.pkl"), "checkpoint.pickle")
    refusal(lambda: Sb3Agent(tmp_path / "nothing"), "checkpoint.missing")
    shutil.copytree(folder / "pacer", tmp_path / "with")
    shutil.copy(folder / "stats.pkl", tmp_path / "with")
    refusal(lambda: Sb3Agent(tmp_path / "with"), "checkpoint.pickle")


def test_altered_weights_are_refused(pacer, tmp_path):
    shutil.copytree(pacer[0] / "pacer", tmp_path / "altered")
    path = next((tmp_path / "altered").glob("policy-*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert path.name in refusal(lambda: Sb3Agent(tmp_path / "altered"), "checkpoint.hash")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hidden": [64]}, "shape"), ({"hidden": [64, 10**9]}, "schema"), ({"activation": "eval"}, "schema"), ({"extra": 1}, "schema"),
        ({"squash": "yes"}, "schema"), ({"observation": {"type": "Box"}}, "schema"), ({"normalizer": {"entries": ["b"], "clip": 1.0}}, "schema"),
        ({"normalizer": {"entries": ["b"], "clip": 1.0, "epsilon": 0.1}}, "schema"), ({"action": {"type": "Text"}}, "schema"), (None, "schema"),
    ],
)  # fmt: skip
def test_altered_descriptions_are_refused(pacer, tmp_path, change, code):
    shutil.copytree(pacer[0] / "pacer", tmp_path / "altered")
    path = tmp_path / "altered" / "config.json"
    config = json.loads(path.read_text())
    config["network"] = None if change is None else config["network"] | change
    path.write_text(json.dumps(config))
    refusal(lambda: Sb3Agent(tmp_path / "altered"), f"checkpoint.{code}")


# ---- conversion ----------------------------------------------------------------------------------------------------------------


class Marks:
    """A pickle that leaves a mark and ends its process."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close(); import os; os._exit(7)",)


def evil(path, mark):
    """An archive of PPO in which unpickling executes code."""
    import base64

    data = {"policy_class": {":serialized:": base64.b64encode(pickle.dumps(Marks(mark))).decode()}, "clip_range": 0.2, "gae_lambda": 1}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
    return path


def test_nothing_is_executed_without_trust(tmp_path, capsys, monkeypatch):
    mark, path = tmp_path / "mark", evil(tmp_path / "evil.zip", tmp_path / "mark")
    monkeypatch.chdir(tmp_path)
    assert arena(["convert", str(path)]) == 2
    text = capsys.readouterr().err
    assert "holds pickles, which execute code" in text and "--trust" in text
    refusal(lambda: Sb3Agent(path), "checkpoint.pickle")
    assert sb3_convert.algorithm_of(path) == "PPO" and not mark.exists()
    assert arena(["convert", str(path), "--trust", "--json"]) == 2  # executed, elsewhere: this process lives
    document = json.loads(capsys.readouterr().out)
    assert document["code"] == "agent.incompatible" and "cannot load it as PPO" in document["message"] and mark.exists()
    assert not (tmp_path / "evil").exists()


class Doubled(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 10)

    def forward(self, seen):
        return torch.cat((seen, seen), 1)


class Own(ActorCriticPolicy):
    pass


class Swoosh(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
REFUSED = {
    "extractor": (on_policy(PPO, features_extractor_class=Doubled), "MlpPolicy", VECTOR, "features come from Doubled"),
    "policy": (on_policy(PPO), Own, VECTOR, "policy class Own is not one of SB3's"),
    "activation": (on_policy(PPO, activation_fn=Swoosh), "MlpPolicy", VECTOR, "activation Swoosh() is not known"),
    "parameters": (on_policy(PPO, activation_fn=partial(nn.LeakyReLU, 0.3)), "MlpPolicy", VECTOR, "negative_slope=0.3"),
    "images": (on_policy(PPO), "CnnPolicy", IMAGE, "observes images"),
    "image in a dictionary": (on_policy(PPO), "MultiInputPolicy", spaces.Dict({"x": VECTOR, "image": IMAGE}), "observes images"),
    "normalised image": (
        on_policy(PPO, normalize_images=False, features_extractor_kwargs={"normalized_image": True}), "CnnPolicy",
        spaces.Box(0, 1, (3, 36, 36), np.float32), "observes images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_refused_by_reason(name, tmp_path):
    make, policy, seen, words = REFUSED[name]
    model = make(policy, DummyVecEnv([lambda: World(seen, spaces.Discrete(2))]))
    model.save(tmp_path / "model.zip")
    with pytest.raises(sb3_convert.Refused) as error:
        sb3_convert.main(str(tmp_path / "model.zip"), str(tmp_path / "out"), "PPO", "")
    assert words in error.value.args[0]


def test_other_files_are_refused(pacer, tmp_path):
    folder, model, _ = pacer
    convert, out = sb3_convert.convert, tmp_path / "out"
    refusal(lambda: convert(tmp_path / "nothing.zip", out), "unknown.file")
    refusal(lambda: convert(folder / "model.zip", out, normalize=tmp_path / "nothing.pkl"), "unknown.file")
    assert "no archive" in refusal(lambda: convert(folder / "stats.pkl", out))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "no archive" in refusal(lambda: convert(tmp_path / "other.zip", out))
    with zipfile.ZipFile(tmp_path / "unknown.zip", "w") as archive:
        archive.writestr("data", '{"policy_class": {"__module__": "sb3_contrib.qrdqn.policies"}, "exploration_fraction": 0.1}')
    assert "not known" in refusal(lambda: convert(tmp_path / "unknown.zip", out))
    assert "MaskablePPO" in refusal(lambda: convert(folder / "model.zip", out, "RecurrentPPO"), "unknown.algorithm")
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert "is no converted model" in refusal(lambda: convert(folder / "model.zip", out))
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_normaliser_of_another_model_and_broken_weights(pacer, tmp_path):
    folder, model, _ = pacer
    other = VecNormalize(DummyVecEnv([lambda: World(VECTOR, UNEVEN)]))
    other.save(str(tmp_path / "other.pkl"))
    (tmp_path / "text.pkl").write_bytes(pickle.dumps("hello"))
    for name, words in (("other.pkl", "the model's are"), ("text.pkl", "holds a str")):
        with pytest.raises(sb3_convert.Refused, match=words):
            sb3_convert.main(str(folder / "model.zip"), str(tmp_path / "out"), "PPO", str(tmp_path / name))
    broken = PPO.load(folder / "model.zip", device="cpu")
    with torch.no_grad():
        broken.policy.action_net.bias.fill_(float("nan"))
    broken.save(tmp_path / "broken.zip")
    with pytest.raises(sb3_convert.Refused, match="NaN"):
        sb3_convert.main(str(tmp_path / "broken.zip"), str(tmp_path / "out"), "PPO", "")
