"""Players of repeated 2x2 games: the strategies of the field. docs/repeated_games.md."""

from arena.registry import AgentSpec

_STRATEGY = "agents.repeated_games.strategies:Strategist"
_RECORDED = "agents.repeated_games.recorded:Recorded"
_AS_RECORDED = tuple(f"repeated_games/{name}-*" for name in ("tiny", "pd-unforgiving", "replay"))
_ANY, _DILEMMAS = ("repeated_games/*",), ("repeated_games/pd-*", "repeated_games/axelrod-*")
_TRAINED = tuple(f"repeated_games/{name}-*" for name in ("tiny", "144", "llm-small", "pd-unforgiving", "bos-alternation", "axelrod", "replay"))
_TABULAR = "agents.repeated_games.tabular_q:TabularQ"
_TABULAR_SAID = "Q-learning of a table: the round and what was played in the last three"
_PPO_SAID = "a small network that sees the last three rounds, by PPO of Stable-Baselines3"
# strategy -> what it does. Cooperation (C) is action 0, whatever the game; D is action 1
_PLAIN = {
    "allc": "always C (action 0)",
    "alld": "always D (action 1)",
    "alternator": "C and D in turn, C first",
    "alternator-d": "C and D in turn, D first",
    "tft": "tit for tat: what the other player did last, C first",
    "stft": "suspicious tit for tat: opens with D",
    "wsls": "win, stay; lose, shift (Pavlov)",
    "reverse-tft": "the opposite of what the other player did last, D first",
    "joss": "tit for tat that plays D one time in ten where C is due",
    "grim": "C until the other player's first D, then D for ever",
    "tf2t": "tit for two tats: D after two D in a row",
    "2tft": "two tits for tat: two D for each D",
    "hard-tft": "D while any of the other player's last three actions was D",
    "soft-majority": "what the other player did more often, C where both alike",
    "hard-majority": "what the other player did more often, D where both alike",
    "defect-once": "D in the first round, then C",
    "defect-last": "D in the last round, C before",
    "naive-prober-0.1": "tit for tat that plays D with probability p (0.1) where C is due",
    "naive-prober-0.2": "tit for tat that plays D with probability p (0.2) where C is due",
    "contrite-tft": "tit for tat that does not strike back at the answer to its own slip",
    "gradual": "answers the n-th D with n times D, then plays C twice",
    "adaptive": "six C, five D, then whichever has earned more so far",
    "prober": "D, C, C; then D for ever if the other player chose C in rounds 2 and 3, else tit for tat",
    "tullock": "C for eleven rounds, then C a tenth less often than the other player in the last ten",
    "firm-but-fair": "(1; 1, 0, 1, 2/3): C unless it was just exploited, two times in three after both played D",
    "zd-gtft-2": "(1; 1, 1/8, 1, 1/4): generous zero-determinant strategy of Axelrod's game",
    "equalizer": "(1; 3/4, 1/4, 1/2, 1/4): fixes what the other player earns in Axelrod's game",
    "released-htft": "hard tit for tat that opens with D, as in the code of Akata et al.",
    "memory-one": "any memory-one strategy: first=1, vector=[1, 0, 1, 0] are P(C) at first and after CC, CD, DC, DD",
    "maximin": "mixes so as to make sure of its minmax value",
    "myopic": "the best reply to the last action",
    "fictitious-play": "the best reply to how often each action was seen",
    "nash": "its part of the equilibrium of largest joint payoff",
    "reciprocator": "its part of the cell of largest product of surpluses; punishes a deviation for two rounds",
    "bully": "the action that pays most when the other player gives in",
    "hedge": "exponential weights on what each action would have earned",
    "grim-efficient": "its part of the cell of largest joint payoff until the other player's first deviation, then punishes for ever",
}
_OF_DILEMMAS = {
    "gtft": "generous tit for tat: forgives as often as the payoffs allow",
    "zd-extort-2": "zero-determinant extortion: a surplus chi (2) times the other player's",
}

AGENTS = (
    *(AgentSpec(name, _STRATEGY, "classical", summary, _ANY, {"strategy": name}) for name, summary in _PLAIN.items()),
    *(AgentSpec(name, _STRATEGY, "classical", summary, _DILEMMAS, {"strategy": name}) for name, summary in _OF_DILEMMAS.items()),
    AgentSpec("recorded-gpt4", _RECORDED, "llm", "GPT-4 as recorded (needs the data repeated_games)", _AS_RECORDED),
    AgentSpec("recorded-gpt4-scot", _RECORDED, "llm", "GPT-4 that predicts the other's move first, as recorded", _AS_RECORDED, {"scot": True}),
    AgentSpec("tabular-q", _TABULAR, "learned", _TABULAR_SAID, _TRAINED, trainable=True, weights="weights/tabular-q"),
    AgentSpec("ppo", "agents.repeated_games.ppo:Ppo", "learned", _PPO_SAID, _TRAINED, trainable=True, weights="weights/ppo"),
    # `version` rises with prompts.VERSION
    AgentSpec("llm", "agents.repeated_games.llm:Llm", "llm", "a language model behind a chat endpoint: llm(endpoint=URL, model=NAME)", _ANY),
)
