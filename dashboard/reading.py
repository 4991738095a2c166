"""What all pages share: the store opened for reading, and pickers whose choice stands in the address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import streamlit as st

from arena import settings
from arena.errors import ArenaError
from arena.store import Store, open_store

FIRST_STEPS = "arena run -t bidding/tiny-v1 -a lin -a resolve     # seconds\nmake demo                                           # a whole board"
FRESH = 10  # seconds for which a loader's answer is kept, where no standing changes before


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


def state(store: Store) -> str:
    """What cached answers depend on: which store, and when a board of it last changed. Loaders take it as an argument:

        @st.cache_data(ttl=FRESH, max_entries=64, show_spinner=False)
        def board(_store: Store, state: str, task_id: int) -> ...   # _store is not part of the key
    """
    return f"{store.url} {store.changed()}"


def nothing_yet(what: str, command: str = FIRST_STEPS) -> None:
    """An empty page that says what would fill it."""
    st.info(what, icon=":material/info:")
    st.text("In a terminal, then come back:")
    st.code(command, language="shell")


def pick(label: str, options: Sequence[str], key: str, aliases: Mapping[str, str] | None = None, help: str | None = None) -> str:
    """One of the options, kept in the address as `?key=` (left out for the first one). `aliases` are other spellings that the address may
    use ("3" for "pid@1"). What is unknown there gives the first option, with a notice.
    """
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        if aliases is not None and asked in aliases:
            st.session_state[key] = aliases[asked]
        else:
            st.info(f"The address asks for a {label.lower()} that is not here; this is the first of the list.", icon=":material/info:")
        st.query_params.pop(key)
    return str(st.selectbox(label, options, key=key, bind="query-params", help=help))
