"""What all pages share: the store opened for reading, and pickers whose choice stands in the address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from arena import settings
from arena.errors import ArenaError
from arena.store import Store, open_store

FIRST_STEPS = "arena run -t bidding/tiny-v1 -a lin -a resolve     # seconds\nmake demo                                           # a whole board"


@contextmanager
def reading() -> Iterator[Store]:
    """The store of the settings, for reading. Where there is none, or it cannot be read, the page says so and ends."""
    try:
        store = open_store(settings.store_url(), settings.home(), read_only=True)
    except ArenaError as error:
        if error.code == "store.missing":
            nothing_yet("Nothing has been run yet.")
        else:
            st.error("The store cannot be read.")
            st.text(str(error))
        st.stop()
    with store:
        yield store


def nothing_yet(what: str) -> None:
    """An empty page that says what would fill it."""
    st.info(what)
    st.text("Play two bidders on a small task, in a terminal, and come back:")
    st.code(FIRST_STEPS, language="shell")


def pick(label: str, options: Sequence[str], key: str) -> str:
    """One of the options, kept in the address as `?key=`; an unknown one there is replaced by the first, with a notice."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        st.info(f"There is no such {key} here; showing the first of the list instead.")
        st.query_params.pop(key)
    return str(st.selectbox(label, options, key=key, bind="query-params"))
