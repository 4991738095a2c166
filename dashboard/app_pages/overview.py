"""What is judged, who leads, what was run last."""

import streamlit as st

from dashboard.reading import reading

st.title("Arena")
with reading() as store:
    counts = store.overview()
st.text(f"{counts['tasks']} tasks, {counts['agents']} agents, {counts['complete']} complete runs")
