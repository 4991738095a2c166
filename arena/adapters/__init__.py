"""Agents that are not Python classes of ours: ONNX files, converted Stable-Baselines3 models, HTTP endpoints. docs/agents.md."""
