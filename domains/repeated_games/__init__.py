"""Repeated 2x2 games against strategies, recorded players and other agents. docs/repeated_games.md."""

from arena.registry import DomainSpec, TaskSpec

DOMAIN = DomainSpec(
    name="repeated_games",
    summary="Repeated 2x2 games: earn the most against an opponent that remembers",
    tasks=(TaskSpec("tiny-v1", "tiny", 20, "prisoner's dilemma and battle of the sexes against five strategies, 10 rounds; seconds", ranked=False),),
    load="domains.repeated_games.tasks:load",
    check="domains.repeated_games.files:check_folder",
    fetch="domains.repeated_games.fetch:fetch",
)
