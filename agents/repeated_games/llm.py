"""A language model as a player: the game is told in English, the letter it answers with is played.

All matches of a chunk are asked at once, round by round. An answer that holds no choice is asked for again; then a fair coin of the agent's
own luck decides, and the answer counts as invalid. Prompts after Akata et al. (arXiv 2305.16867), in words of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from agents.repeated_games import prompts
from agents.repeated_games.prompts import About, Message, Prompt, Unit, View
from arena.agent import Agent, Brief, Observation
from arena.chat.cache import Cache
from arena.chat.client import ChatClient, Question, served
from arena.chat.endpoint import DEFAULT_KEY, Endpoint, tokens_in
from arena.chat.options import options
from arena.chat.transcripts import INVALID, Call, Place, Transcript, path_of
from arena.errors import ArenaError
from arena.rollout import players, rollout
from arena.task import TaskView

if TYPE_CHECKING:
    from arena.task import Task

REASKS = 2
SHORT, LONG = 16, 1024  # tokens an answer may have: the letter alone, or reasons first
GAUGED = 64  # matches from which the cost of a task is estimated


class Llm(Agent):
    """A model behind an OpenAI-compatible endpoint.

    endpoint: its URL, most end in /v1; model: the name under which it is served
    prompt: `direct`; `scot` (the other's choice is predicted first, then answered: social chain of thought); `opponent_info` (a line about the
        other player); `cot` (reasons first, then a marked answer); about: that line; unit: what points are called
    temperature: None where the model takes none; at 0 identical questions are asked once per run seed, above it once per match
    max_tokens: of an answer (16, `cot` 1024); reasoning models need thousands; token_field: what the endpoint calls it
    key_env: name of the environment variable that holds the key, never the key
    How it is asked (cache, budget, prices, concurrency) is a matter of settings: arena/chat/options.py.
    Raises ArenaError agent.address, agent.parameters, infra.key.
    """

    nature = "llm"
    mode = "history"

    def __init__(
        self,
        endpoint: str,
        model: str,
        prompt: Prompt = "direct",
        unit: Unit = "points",
        about: About = "mistakes",
        temperature: float | None = 0.0,
        max_tokens: int | None = None,
        token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        key_env: str = DEFAULT_KEY,
    ) -> None:
        self.parameters = {
            "endpoint": endpoint, "model": model, "prompt": prompt, "unit": unit, "about": about, "temperature": temperature,
            "max_tokens": max_tokens, "token_field": token_field, "key_env": key_env,
        }  # fmt: skip
        if not model.strip():
            raise ArenaError("agent.parameters", f"model = {model!r}", f"give the name under which it is served: GET {endpoint}/models lists them")
        if temperature is not None and not 0 <= temperature <= 2:
            raise ArenaError("agent.parameters", f"temperature = {temperature}", "temperatures lie between 0 and 2; None: the model takes none")
        if max_tokens is not None and max_tokens < 1:
            raise ArenaError("agent.parameters", f"max_tokens = {max_tokens}", "an answer has at least one token")
        Endpoint(endpoint, model, key_env)  # what cannot be one is refused before its name is stored anywhere
        self.endpoint, self.model, self.key_env, self.temperature = endpoint, model, key_env, temperature
        self.prompt, self.unit, self.about = prompt, unit, about if prompt == "opponent_info" else None
        self.reasoned = prompt == "cot"
        self.most = max_tokens or (LONG if self.reasoned else SHORT)
        self.sampling: dict[str, Any] = {token_field: self.most} | ({} if temperature is None else {"temperature": temperature})
        self.client: ChatClient | None = None
        self.playing: tuple[str, str, str, int] | None = None

    # ---- the contract ------------------------------------------------------------------------------------------------------

    def check(self, task: TaskView) -> None:
        """Raises ArenaError where the endpoint cannot be reached or refuses the key, and for settings that are none."""
        chosen = options()
        chosen.price(self.model)
        if chosen.cache != "only":
            served(Endpoint(self.endpoint, self.model, self.key_env, chosen.timeout))

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = brief, -1
        self.ids = brief.scenario.tolist()
        self.count = dict.fromkeys(("calls", "cached", "retries", "reasks", "invalid", "input_tokens", "output_tokens"), 0.0)
        playing = (brief.run, brief.task.id, brief.role, brief.seed)
        if self.playing != playing:
            self.close()
            chosen = options()
            place = Endpoint(self.endpoint, self.model, self.key_env, chosen.timeout, chosen.concurrency)
            names = dict(zip(("run", "task", "role", "seed"), playing, strict=True))
            about = {**names, "agent": self.parameters, "prompts": prompts.VERSION}
            transcript = Transcript(path_of(brief.run, brief.role), about)
            self.client, self.playing = ChatClient(place, chosen, Cache(), transcript, prompts.VERSION), playing

    def act(self, obs: Observation) -> Tensor:
        self.step += 1
        rows = obs["live"].nonzero()[:, 0].tolist()
        seen = prompts.views({name: value[rows] for name, value in obs.items() if name != "live"})
        messages = [self.opened(view) for view in seen]
        if self.prompt == "scot":
            messages = [self.predicted(view, said) for view, said in zip(seen, self._ask(rows, seen, messages, "predict"), strict=True)]
        actions = (self.brief.uniforms(self.step, 1)[:, 0] >= 0.5).long()  # a fair coin, where no answer comes to stand
        for row, action in zip(rows, self._ask(rows, seen, messages, "choose"), strict=True):
            if action is None:
                self.count["invalid"] += 1
            else:
                actions[row] = action
        return actions

    def end(self) -> None:
        self.usage = self.count

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client, self.playing = None, None

    # ---- asking ------------------------------------------------------------------------------------------------------------

    def opened(self, view: View) -> list[Message]:
        """The first question of a decision."""
        asked = prompts.prediction(view) if self.prompt == "scot" else prompts.question(view, self.reasoned)
        return prompts.as_user(prompts.told(view, self.unit, self.about), asked)

    def predicted(self, view: View, said: int | None) -> list[Message]:
        """The second question of `scot`; without a prediction, the direct one."""
        if said is None:
            return prompts.as_user(prompts.told(view, self.unit, self.about), prompts.question(view))
        return prompts.followed(self.opened(view), view.labels[said], prompts.given(view, said))

    def _ask(self, rows: Sequence[int], seen: Sequence[View], messages: list[list[Message]], stage: str) -> list[int | None]:
        """The actions that the answers name, None where even the last one names none."""
        assert self.client is not None
        found: list[int | None] = [None] * len(rows)
        left, messages = list(range(len(rows))), list(messages)
        for ask in range(1 + REASKS):
            if not left:
                break
            places = [Place(self.ids[rows[i]], self.step, stage, ask) for i in left]
            bodies = [{"messages": messages[i], **self.sampling} for i in left]
            samples = [self._sample(rows[i]) for i in left]
            calls = self.client.complete([Question(*each) for each in zip(places, bodies, samples, strict=True)])
            self._account(calls, ask)
            for i, call in zip(left, calls, strict=True):
                found[i] = action = prompts.choice(call.text, seen[i])
                if action is None:
                    messages[i] = prompts.followed(messages[i], call.text, prompts.reminder(seen[i], self.reasoned and stage == "choose"))
            named = [INVALID if (action := found[i]) is None else seen[i].labels[action] for i in left]
            self.client.transcript.choose(zip(places, named, strict=True))
            left = [i for i in left if found[i] is None]
        return found

    def _sample(self, row: int) -> str:
        """What tells apart answers that are to be drawn anew: run seeds; matches, too, where answers are drawn by chance."""
        seed = str(self.brief.seed)
        return seed if self.temperature == 0 else f"{seed}/{self.brief.role}/{self.ids[row]}"

    def _account(self, calls: Sequence[Call], ask: int) -> None:
        """What the chunk costs: every answer counts with what it cost when it was paid, also one that was kept."""
        count = self.count
        asked = [call for call in calls if call.source != "shared"]
        count["calls"] += len(asked)
        count["cached"] += sum(call.source == "cache" for call in calls)
        count["retries"] += sum(max(0, len(call.attempts) - 1) for call in calls)
        count["reasks"] += len(calls) if ask else 0
        count["input_tokens"] += sum(call.input_tokens for call in calls)
        count["output_tokens"] += sum(call.output_tokens for call in calls)
        money = [call.money for call in calls if call.money is not None]
        if money:
            count["money"] = count.get("money", 0.0) + sum(money)
        if unpriced := sum(call.money is None for call in asked):
            count["unpriced"] = count.get("unpriced", 0.0) + unpriced  # calls that `money` lacks: of chunks played before there was a price

    # ---- what it will cost -------------------------------------------------------------------------------------------------------

    def estimate(self, task: Task, times: Mapping[str, int] | None = None) -> str:
        """Calls, tokens and money at most where every answer is valid, in a line: measured on matches of the training split played at random.

        times: role -> how often it is played; None: one run, in all roles that are judged. A budget is that of one run in one role.
        """
        chosen = options()
        price = chosen.price(self.model)
        indices = np.linspace(0, task.n - 1, min(task.n, GAUGED)).astype(int).tolist()
        gauges = {role.name: _Gauge(self) for role in task.domain.roles}
        lineup = players(task.domain, gauges)
        rollout(task.domain, task.sample("train", indices), lineup, task=task.view, ids=torch.tensor(indices), record=False)
        scale = task.n / len(indices)
        played = times or dict.fromkeys(task.candidates or (task.role,), 1)
        single = {role: (round(scale * gauges[role].calls), round(scale * gauges[role].tokens)) for role in played}
        calls, tokens = (sum(n * single[role][part] for role, n in played.items()) for part in (0, 1))
        most = calls * self.most
        parts = [f"at most {calls:,} calls (invalid answers, asked for again, come on top), about {tokens:,} tokens in, at most {most:,} out"]
        parts.append("no price for this model (chat_prices)" if price is None else f"at most {price.of(tokens, most):,.4g} in money by your prices")
        for name, cap in (("tokens", chosen.tokens), ("money", chosen.money)):
            if cap is not None:
                needs = ((told, asked * self.most) for asked, told in single.values())
                need = max(put + got if name == "tokens" or price is None else price.of(put, got) for put, got in needs)
                parts.append(f"budget {cap:,.6g} {name}" + (" a run" if times else "") + (", which may stop it" if need > cap else ""))
        return "; ".join(parts) + (" (cache only: nothing is sent)" if chosen.cache == "only" else "")


class _Gauge(Agent):
    """Plays at random and measures what asking a model would take."""

    mode = "history"

    def __init__(self, llm: Llm) -> None:
        self.llm, self.calls, self.tokens = llm, 0, 0

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = brief, -1

    def act(self, obs: Observation) -> Tensor:
        self.step += 1
        for view in prompts.views({name: value for name, value in obs.items() if name != "live"}):
            stages = [self.llm.opened(view), *([self.llm.predicted(view, 0)] if self.llm.prompt == "scot" else [])]
            self.calls += len(stages)
            self.tokens += sum(tokens_in(messages) for messages in stages)
        return (self.brief.uniforms(self.step, 1)[:, 0] >= 0.5).long()
