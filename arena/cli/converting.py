"""`arena convert`: a Stable-Baselines3 archive into a folder that holds no code. The one command that opens a pickle, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arena.cli.output import AsJson, deliver, literal, pairs, shown_path
from arena.errors import ArenaError


def convert(
    model: Annotated[Path, typer.Argument(metavar="MODEL.zip", help="What model.save() of Stable-Baselines3 wrote.", show_default=False)],
    trust: Annotated[bool, typer.Option("--trust", help="Run the code that the archive may hold: you trust whoever made it.")] = False,
    algorithm: Annotated[str | None, typer.Option("--algo", help="PPO, A2C, SAC, ...  [default: as the archive says]", show_default=False)] = None,
    normalize: Annotated[Path | None, typer.Option("--normalize", help="What VecNormalize.save() wrote.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.  [default: the archive's name]", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Convert a Stable-Baselines3 model, once, into weights and a description of its network.

    Such archives hold pickles, which execute code when they are opened; that happens here, in a process of its own, and never again.
    """
    from arena.adapters import sb3_convert
    from arena.adapters.space_documents import space_of

    folder = out or Path(model.stem)
    if not trust:
        words = [f"arena convert {model} --trust", *([f"--normalize {normalize}"] if normalize else []), f"--out {folder}"]
        raise ArenaError(
            "agent.untrusted",
            f"{model} holds pickles, which execute code when they are opened",
            f"if you trust whoever made it: {' '.join(words)}",
        )
    found = sb3_convert.convert(model, folder, algorithm, normalize)
    document = {
        "model": str(model), "folder": str(folder.resolve()), "sha256": found["source"]["sha256"], "algorithm": found["algorithm"],
        "stable_baselines3": found["source"]["stable_baselines3"], "steps": found["source"]["steps"],
        "observation": str(space_of(found["observation"])), "action": str(space_of(found["action"])), "hidden": found["hidden"],
        "activation": found["activation"], "normalized": found["normalizer"] is not None, "difference": found["difference"],
        "trials": sb3_convert.TRIALS, "files": sorted(path.name for path in folder.iterdir()),
    }  # fmt: skip

    def text() -> None:
        layers = "-".join(map(str, found["hidden"])) or "linear"
        seen = "normalised by VecNormalize" if document["normalized"] else "as they are; --normalize is for models trained with VecNormalize"
        pairs(
            [
                ("folder", shown_path(folder)), ("model", f"{found['algorithm']} after {document['steps']:,} steps, {layers} {found['activation']}"),
                ("observation", document["observation"]), ("action", document["action"]), ("observations", seen),
                ("verified", f"SB3's own predict on {sb3_convert.TRIALS} observations, largest difference {found['difference']:.1g}"),
            ]  # fmt: skip
        )
        print(f"next: arena register {literal(shown_path(folder))}")

    deliver("arena.converted/1", document, as_json, text)
