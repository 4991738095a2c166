"""Language models behind an OpenAI-compatible endpoint: many questions at once, retried, cached, budgeted, written down.

It knows no domain: an agent makes the messages and reads the answers. docs/agents.md.
"""
