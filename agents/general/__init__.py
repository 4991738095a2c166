"""Agents that play any task: uniform random play."""

from arena.registry import AgentSpec

AGENTS = (AgentSpec("random", "agents.general.random:UniformRandom", "reference", "uniform over the legal actions", ("*",)),)
