"""Players of repeated 2x2 games: the strategies of the field. docs/repeated_games.md."""

from arena.registry import AgentSpec

_STRATEGY = "agents.repeated_games.strategies:Strategist"
_ANY, _DILEMMAS = ("repeated_games/*",), ("repeated_games/pd-*", "repeated_games/axelrod-*")
# strategy -> what it does, told as (first; after CC, CD, DC, DD) where it remembers one round: own action first, probability of action 0 (C)
_PLAIN = {
    "allc": "always action 0 (cooperates)",
    "alld": "always action 1 (defects)",
    "tft": "tit for tat: what the other player did last",
}

AGENTS = (
    *(AgentSpec(name, _STRATEGY, "classical", summary, _ANY, {"strategy": name}) for name, summary in _PLAIN.items()),
    # `version` rises with prompts.VERSION
    AgentSpec("llm", "agents.repeated_games.llm:Llm", "llm", "a language model behind a chat endpoint: llm(endpoint=URL, model=NAME)", _ANY),
)  # fmt: skip
