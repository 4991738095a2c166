"""Faces: the batched kernel as the outside world expects it (Gymnasium, PettingZoo, Stable-Baselines3).

`import arena.faces` registers every known task with Gymnasium, from the registry's metadata alone: nothing heavy is imported until an
environment is made. `gymnasium.make("arena.faces:arena/bidding-tiny-v1")` does both at once.
"""

from __future__ import annotations

from gymnasium.envs.registration import register
from gymnasium.envs.registration import registry as registered

from arena import registry

__all__ = ["gym_id", "register_all"]


def gym_id(task_id: str) -> str:
    """The Gymnasium id of a task: `bidding/tiny-v1` is `arena/bidding-tiny-v1` (Gymnasium allows one namespace)."""
    return f"arena/{task_id.replace('/', '-')}"


def register_all() -> list[str]:
    """Register every task of the registry that Gymnasium does not know yet. Returns the ids of all of them.

    Called on import; call it again after a plugin was installed in a running process.
    """
    found = []
    for task_id in registry.tasks():
        name = gym_id(task_id)
        if name not in registered:
            register(
                name,
                entry_point="arena.faces.gymnasium:ArenaEnv",
                vector_entry_point="arena.faces.gymnasium:ArenaVectorEnv",
                kwargs={"task": task_id},
            )
        found.append(name)
    return found


register_all()
