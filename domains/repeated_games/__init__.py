"""Repeated 2x2 games against strategies, recorded players and other agents. docs/repeated_games.md."""

from arena.registry import DomainSpec, TaskSpec

DOMAIN = DomainSpec(
    name="repeated_games",
    summary="Repeated 2x2 games: earn the most against an opponent that remembers",
    tasks=(
        TaskSpec("tiny-v1", "tiny", 20, "prisoner's dilemma and battle of the sexes against five strategies, 10 rounds; seconds", ranked=False),
        TaskSpec("144-v1", "standard", 1728, "all 144 strict ordinal games against 12 strategies that play any game, 10 rounds"),
        TaskSpec("axelrod-v1", "standard", 1800, "prisoner's dilemma against 30 strategies, with and without trembling hands, 200 rounds"),
        TaskSpec("llm-small-v1", "standard", 168, "14 games from both seats against six strategies, 10 rounds: 1,680 calls of a language model"),
        TaskSpec("pd-unforgiving-v1", "standard", 50, "prisoner's dilemma against a one-time defector and nine others, five wordings", ranked=False),
        TaskSpec("bos-alternation-v1", "standard", 40, "battles of the sexes against alternating or insisting players, labels swapped", ranked=False),
        TaskSpec("crossplay-v1", "standard", 19, "two agents in 19 ordinal games, 10 rounds; both are paid, nobody wins", ranked=False),
        TaskSpec("replay-v1", "real", 4, "recorded GPT-4 in both published games, 10 rounds", needs="repeated_games", ranked=False),
    ),
    load="domains.repeated_games.tasks:load",
    check="domains.repeated_games.files:check_folder",
    figures="domains.repeated_games.figures",
    fetch="domains.repeated_games.fetch:fetch",
    bench="domains.repeated_games.bench:figures",
    suite=("144-v1", "axelrod-v1"),
)
