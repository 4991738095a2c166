"""Entry of the dashboard: the pages and how they are reached."""

import streamlit as st

from dashboard.words import public

PAGES = {  # file -> title, symbol; the address of a page is the name of its file
    "overview": ("Overview", ":material/home:"),
    "leaderboard": ("Leaderboard", ":material/leaderboard:"),
    "compare": ("Compare", ":material/compare_arrows:"),
    "ratings": ("Games", ":material/grid_on:"),
    "run": ("Run", ":material/play_circle:"),
    "scenario": ("Scenario", ":material/movie:"),
    "agent": ("Agent", ":material/smart_toy:"),
    "task": ("Task", ":material/flag:"),
    "register": ("Register", ":material/add_circle:"),
    "queue": ("Queue", ":material/list_alt:"),
}

# the browser would fetch a page's own symbol for its tab from the network
st.set_page_config(page_title="Arena", page_icon="\N{STADIUM}", layout="wide")
pages = [
    st.Page(f"app_pages/{name}.py", title=title, icon=icon, url_path=name, default=name == "overview")
    for name, (title, icon) in PAGES.items()
    if not (name == "register" and public())
]
st.navigation(pages, position="top").run()
