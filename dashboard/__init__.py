"""What the browser shows: reads the store, runs no agent. Start it with `streamlit run dashboard/app.py` (or `make dashboard`)."""
