"""The tasks of repeated games: which games, against whom, for how many rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arena.digest import array_digest
from arena.errors import ArenaError
from arena.making import validated
from arena.seeds import scenario_seeds
from arena.settings import data_root
from arena.task import Task, Vector
from domains.repeated_games import DOMAIN
from domains.repeated_games.automata import Library, recorded
from domains.repeated_games.games import BOS_10, DIAGONALS, PD_5, PD_8, battle, ordinal_games, smallest_asymmetric
from domains.repeated_games.kernel import Matches, RepeatedGame
from domains.repeated_games.opponents import ANY_GAME, CLASSICS
from domains.repeated_games.references import cross_play, cross_references, references
from domains.repeated_games.scenarios import Pairing, matches, opponents

FROZEN = Path(__file__).parent / "frozen"
ROUNDS, AXELROD_ROUNDS = 10, 200
TREMBLES, DRAWS = (0.0, 0.01, 0.05), 20  # of the axelrod task
RELATIVES = ("tft", "tf2t", "stft", "reverse-tft", "hard-tft", "naive-prober-0.1", "naive-prober-0.2")
STYLES = ("random", "myopic", "fictitious-play", "reciprocator", "bully", "grim-efficient")  # opponents of the small task for language models
# name: labels of (C, D), the action listed first, framing; as published
WORDINGS = {
    "J or F": ("JF", 0, 0),
    "F or J": ("JF", 1, 0),
    "Q or X, project": ("QX", 0, 1),
    "H or R, cooking": ("RH", 1, 2),
    "Q or X, cards": ("QX", 0, 3),
}
CHUNK = 600
PATIENCE = {"act_s": 10.0}  # seconds per decision: language models are slow


@dataclass(frozen=True)
class Listing:
    """What a task is made of: a row of each list per match.

    groups, clusters: what a match belongs to: names that the board shows, and anything equal for matches that are one to a player without words
    words: matches of a cluster differ in words alone, so they share their luck
    known: the opponents and which of them each match meets, where they are no strategies by name
    """

    pairings: list[Pairing]
    groups: list[str]
    clusters: list[object]
    rounds: int = ROUNDS
    words: bool = False
    known: tuple[Library, list[int]] | None = None


def load(name: str, **parameters: Any) -> Task:
    """The task called `name`. Raises ArenaError `data.missing` where it wants files that are not there."""
    make: Callable[[], Task] = _cross if name == "crossplay-v1" else lambda: _against(name)
    return make(**validated(make, parameters, f"repeated_games/{name}", "task.parameters"))


# ---- what they hold ------------------------------------------------------------------------------------------------------


def _tiny() -> Listing:
    games = {"PD-8": PD_8, "BoS-10": BOS_10}
    listed = list(product(games, ("allc", "alld", "tft", "defect-once", "alternator"), (0, 1)))
    pairings = [Pairing(games[game], name, seat, labels="JF", paraphrase=0) for game, name, seat in listed]
    clusters: list[object] = [(game, name, seat if game != "PD-8" else 0) for game, name, seat in listed]
    return Listing(pairings, [game for game, _, _ in listed], clusters)


def _all_games() -> Listing:
    listed = list(product(ordinal_games(), ANY_GAME))
    return Listing([Pairing(game.payoffs, name) for game, name in listed], [game.family for game, _ in listed], list(range(len(listed))))


def _llm_small() -> Listing:
    listed = list(product(smallest_asymmetric(2), (0, 1), STYLES))
    pairings = [Pairing(game.payoffs, name, seat) for game, seat, name in listed]
    return Listing(pairings, [game.family for game, _, _ in listed], list(range(len(listed))))


def _unforgiving() -> Listing:
    listed = list(product(WORDINGS, ("defect-once", "allc", "alld", *RELATIVES)))
    pairings = []
    for wording, name in listed:
        labels, first, framing = WORDINGS[wording]
        pairings.append(Pairing(PD_8, name, labels=labels, first=first, framing=framing, paraphrase=0))
    return Listing(pairings, [wording for wording, _ in listed], [name for _, name in listed], words=True)


def _alternation() -> Listing:
    listed = list(product(DIAGONALS, ("alternator", "alternator-d", "allc", "alld"), ("JF", "FJ")))
    pairings = [Pairing(battle(*diagonal), name, labels=labels, paraphrase=0) for diagonal, name, labels in listed]
    return Listing(pairings, ["{}/{}".format(*diagonal) for diagonal, _, _ in listed], [cell[:2] for cell in listed], words=True)


def _axelrod() -> Listing:
    listed = list(product(TREMBLES, CLASSICS, range(DRAWS)))
    pairings = [Pairing(PD_5, name, tremble=tremble) for tremble, name, _ in listed]
    library, index = opponents(pairings, AXELROD_ROUNDS)
    sure = [not pairing.tremble and library.tables[place].sure for pairing, place in zip(pairings, index, strict=True)]
    clusters: list[object] = [cell[:2] if same else cell for cell, same in zip(listed, sure, strict=True)]  # nothing is drawn: one match, 20 times
    return Listing(pairings, [f"tremble {tremble:g}" for tremble, _, _ in listed], clusters, AXELROD_ROUNDS, known=(library, index))


def _replay() -> Listing:
    """GPT-4 as recorded: its answer to every course of ten rounds. In the battle of the sexes it sits where J pays most."""
    from domains.repeated_games.recorded_policy import load_policy

    root, games = data_root(), {"pd": ("PD-8", PD_8, 0), "bos": ("BoS-10", BOS_10, 1)}
    listed = list(product(games, ("base", "scot")))
    names = [f"gpt4-{variant} in {games[game][0]}" for game, variant in listed]
    library = Library.of(names, [recorded(load_policy(root, game, variant)) for game, variant in listed])
    pairings = [
        Pairing(games[game][1], name, games[game][2], labels="JF", first=0, paraphrase=0) for (game, _), name in zip(listed, names, strict=True)
    ]
    return Listing(pairings, [games[game][0] for game, _ in listed], list(range(4)), known=(library, list(range(4))))


LISTINGS: dict[str, Callable[[], Listing]] = {
    "tiny-v1": _tiny,
    "144-v1": _all_games,
    "llm-small-v1": _llm_small,
    "pd-unforgiving-v1": _unforgiving,
    "bos-alternation-v1": _alternation,
    "axelrod-v1": _axelrod,
    "replay-v1": _replay,
}


# ---- how they are made ---------------------------------------------------------------------------------------------------


def _common(name: str, listing: Listing) -> dict[str, Any]:
    spec = next(task for task in DOMAIN.tasks if task.name == name)
    if spec.n != len(listing.pairings):
        raise ArenaError(
            "task.index",
            f"{name} lists {len(listing.pairings)} matches, its specification says {spec.n}",
            "correct n in domains/repeated_games/__init__.py",
        )
    said = {"id": f"repeated_games/{name}", "tier": spec.tier, "n": spec.n, "summary": spec.summary, "frozen": FROZEN / name}
    return {**said, "groups": tuple(sorted(set(listing.groups))), "chunk": CHUNK, "limits": PATIENCE}


def _vectors(listing: Listing) -> dict[str, Vector]:
    """Group and cluster [n], as numbers."""
    _, group = np.unique(listing.groups, return_inverse=True)
    number = {key: place for place, key in enumerate(dict.fromkeys(listing.clusters))}
    return {"group": group.astype(np.float64), "cluster": np.array([number[key] for key in listing.clusters], np.float64)}


def _against(name: str) -> Task:
    """A task against strategies or recorded players."""
    listing = LISTINGS[name]()
    pairings, rounds = listing.pairings, listing.rounds
    library, index = listing.known or opponents(pairings, rounds)
    domain = RepeatedGame(rounds, library)
    common, n = _common(name, listing), len(pairings)
    first = {key: place for place, key in reversed(list(enumerate(listing.clusters)))}  # the first match of each cluster

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Matches:
        cells = [i % n for i in indices]
        if common["tier"] == "real" and split != "test":
            raise ArenaError("data.train", f"{common['id']} has no matches to train on", "train on repeated_games/tiny-v1")
        if common["tier"] == "tiny":  # what is learned here is judged here
            seeds = scenario_seeds(common["id"], "test", cells)
        elif listing.words:
            seeds = scenario_seeds(common["id"], split, [i - cell + first[listing.clusters[cell]] for i, cell in zip(indices, cells, strict=True)])
        return matches([pairings[i] for i in cells], [index[i] for i in cells], rounds, seeds)

    def sampler(seeds: Sequence[int]) -> Matches:
        cells = [seed % n for seed in seeds]
        return matches([pairings[i] for i in cells], [index[i] for i in cells], rounds, seeds)

    def vectors(task: Task) -> dict[str, Vector]:
        return {**references(task), **_vectors(listing)}

    domain.sampler, vectors.__doc__ = sampler, references.__doc__
    config: dict[str, Any] = {"rounds": rounds, "opponents": list(dict.fromkeys(pairing.opponent for pairing in pairings))}
    if name == "axelrod-v1":
        config |= {"tremble": list(TREMBLES), "draws": DRAWS}
    if name == "replay-v1":
        config["tables"] = [array_digest(table.play) for table in library.tables]
    return Task(**common, domain=domain, config=config, references=vectors, draw=draw)


def _cross() -> Task:
    """Two agents, the 12 symmetric games and one of each family that is not; both are paid, nobody wins."""
    games = [game for game in ordinal_games() if game.symmetric] + smallest_asymmetric(1)
    listing = Listing([Pairing(game.payoffs) for game in games], [game.family for game in games], [game.slug for game in games])
    domain = cross_play(torch.stack([game.payoffs for game in games]), ROUNDS)

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Matches:
        return matches([listing.pairings[i % len(games)] for i in indices], [-1] * len(indices), ROUNDS, seeds)

    def vectors(task: Task) -> dict[str, Vector]:
        return {**cross_references(task), **_vectors(listing)}

    domain.sampler = lambda seeds: matches([listing.pairings[seed % len(games)] for seed in seeds], [-1] * len(seeds), ROUNDS, seeds)
    vectors.__doc__ = cross_references.__doc__
    config = {"rounds": ROUNDS, "games": [game.slug for game in games], "gap": list(domain.gap)}
    return Task(
        **_common("crossplay-v1", listing),
        domain=domain,
        config=config,
        references=vectors,
        draw=draw,
        normalise="task",
        bounded=False,
        candidates=("row", "column"),
    )
