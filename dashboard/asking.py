"""What pages ask for. The dashboard runs nothing: it writes a line into the queue, through a store opened for this one click."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from arena import settings
from arena.errors import ArenaError
from arena.store import Store, open_store
from dashboard.words import public, told

T = TypeVar("T")


def ask(work: Callable[[Store], T]) -> T | None:
    """The answer of `work`; None where it was refused, which the page then says. Where strangers look, everything is refused."""
    if public():
        st.error("This dashboard only shows.", icon=":material/lock:")
        return None
    try:
        with open_store(settings.store_url(), settings.home()) as store:
            return work(store)
    except ArenaError as error:
        st.error("This was refused.", icon=":material/block:")
        st.text(told(str(error)))
        return None
