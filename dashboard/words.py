"""Text from elsewhere and states in words: nothing of the host where strangers look, no state told by its colour alone."""

from __future__ import annotations

import os
import re

import streamlit as st
from streamlit.errors import StreamlitAPIException

SIGNS = {"queued": "…", "running": "▶", "stalled": "⚠", "complete": "✓", "done": "✓", "failed": "✗", "cancelled": "⊘"}
FOLDERS = re.compile(r"(?<![\w/:.])(?:~|[A-Za-z]:)?(?:[/\\][^/\\\s'\",:;()<>]+)+[/\\]")


def public() -> bool:
    """Whether strangers may look: no registering, no actions, nothing of the host."""
    return os.environ.get("ARENA_DASHBOARD_MODE") == "public"


def told(text: object) -> str:
    """Text of an error, a log or a reference; in public mode without the folders of the host."""
    return FOLDERS.sub("…/", str(text)) if public() else str(text)


def signed(status: str) -> str:
    """A status with a sign, for cells and buttons, which have no badges."""
    return f"{SIGNS.get(status, '')} {status}".strip()


def whole(key: str, low: int, high: int | None = None) -> int | None:
    """The whole number of `?key=` in the address; None where there is none. Anything else is taken out of it, with a notice."""
    text = st.query_params.get(key)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) < 16 and low <= int(text) and (high is None or int(text) <= high):
        return int(text)
    try:
        st.query_params.pop(key)
    except StreamlitAPIException:
        pass  # a field of this page holds it, and corrects it itself
    st.info("The address asks for a number that is not here; it was left out.", icon=":material/info:")
    return None


def back(label: str, key: str) -> None:
    """To the page without its choice of `key`. A link of a page to itself would leave the choice in the address."""
    if st.button(label, icon=":material/arrow_back:", type="tertiary"):
        st.query_params.pop(key, None)
        st.rerun()
