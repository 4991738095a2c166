"""What all pages share: the store opened for reading, and pickers whose choice stands in the address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import streamlit as st
from streamlit.errors import StreamlitAPIException

from arena import settings
from arena.errors import ArenaError
from arena.store import Store, open_store
from dashboard.words import told

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
            st.stop()
        unreadable(error)
    with store:
        yield store


def unreadable(error: ArenaError) -> NoReturn:
    """The page says what is wrong with the store, and ends."""
    st.error("The store cannot be read.", icon=":material/error:")
    st.text(told(str(error)))
    st.stop()


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
    """One of the options, kept in the address as `?key=` once it was chosen. `aliases` are other spellings that the address may use ("3" for
    "pid@1"). What is unknown there gives the first option, with a notice.
    """
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        meant = (aliases or {}).get(asked)
        _respell(label, key, meant if meant in options else None, lost=meant not in options)
    _tell(key)
    if st.session_state.get(key) not in options:
        st.session_state[key] = asked if asked in options else options[0]
    # no default: Streamlit would leave it out of the address, which would mean another one as soon as the first of the list is another
    chosen = st.selectbox(label, options, None, key=key, bind="query-params", help=help)
    if chosen is None:  # a picker of the same key on the page before held a choice, which this one does not take over
        st.rerun()
    return str(chosen)


def pick_many(label: str, options: Sequence[str], key: str, default: Sequence[str], most: int, aliases: Mapping[str, str] | None = None) -> list[str]:
    """Up to `most` of the options, kept in the address as `?key=one&key=other`; the default where it names none that is known."""
    asked = st.query_params.get_all(key)
    meant = list(dict.fromkeys((aliases or {}).get(name, name) for name in asked))
    known = [name for name in meant if name in options][:most]
    if known != asked:
        _respell(label, key, known or None, lost=len(known) < len(asked))
    _tell(key)
    if key not in st.session_state and not st.query_params.get_all(key):
        st.session_state[key] = list(default)
    return list(st.multiselect(label, options, key=key, max_selections=most, bind="query-params"))


def _respell(label: str, key: str, meant: str | list[str] | None, lost: bool) -> None:
    """Put into the address what it means and start over; what means nothing (`lost`) is taken out."""
    if lost:
        st.session_state[f"{key} lost"] = f"{label}: the address asks for something that is not here; it was left out."
    try:
        if meant is None:
            st.query_params.pop(key)
        else:
            st.query_params[key] = meant
    except StreamlitAPIException:  # the picker is on the page since an earlier run: then it corrects the address itself
        if meant is not None:
            st.session_state[key] = meant
    else:
        st.rerun()


def _tell(key: str) -> None:
    words = st.session_state.pop(f"{key} lost", None)
    if words:
        st.info(words, icon=":material/info:")
