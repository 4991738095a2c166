"""Entry of the dashboard: the pages and how they are reached."""

import streamlit as st

st.set_page_config(page_title="Arena", layout="wide")
pages = [
    st.Page("app_pages/leaderboard.py", title="Leaderboard", url_path="leaderboard", default=True),
    st.Page("app_pages/runs.py", title="Runs", url_path="runs"),
]
st.navigation(pages, position="top").run()
