"""Agents that are not ours, in a process of their own: limits on memory, processor and wall clock; nothing they say is ever unpickled.

    host (a run) --control--> nursery --fork--> agent process
         \\_________ channel: msgpack frames, arrays in shared memory ________/

The nursery is one small process per host. It has torch and the task's domain loaded, so that an agent starts in milliseconds; it adopts
whatever agents leave behind, and ends all of them when they are told to go or when the host is gone, however that died.
This guards against accidents (crash, leak, hang), not against malice: the code runs as the same user.
"""

from arena.isolation.host import Isolated
from arena.isolation.limits import Limits

__all__ = ["Isolated", "Limits"]
