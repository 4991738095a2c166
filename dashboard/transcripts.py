"""What a language model was asked and answered in a run, as its transcript has it; nothing where there is none on this machine."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from arena.chat.transcripts import INVALID, Call, Reader, path_of
from arena.cli.output import figure
from arena.errors import ArenaError
from dashboard import style
from dashboard.elements import name, table
from dashboard.words import public, told

Json = dict[str, Any]


def section(run: Json) -> None:
    """The transcripts of a run, one for each role that a language model has played."""
    kept = [(e, path) for e in run["entries"] if (path := path_of(run["uid"], e["role"])).is_file()]
    if kept:
        st.subheader("Transcripts" if len(kept) > 1 else "Transcript")
    for entry, path in kept:
        words = f"What {name(entry['agent'])} was asked and answered as {name(entry['role'])}"
        with st.expander(words, icon=":material/chat:"):
            try:
                reader = Reader(path)
            except ArenaError as error:
                st.text(told(error))
                continue
            try:
                transcript(run["id"], entry["role"], reader)
            finally:
                reader.close()


def transcript(run_id: int, role: str, reader: Reader) -> None:
    """The whole in figures, and the calls of one scenario, of which one is shown in full."""
    scenarios = reader.scenarios()
    if not scenarios:
        st.text("Nothing has been asked yet.")
        return
    st.text(summed(reader))
    key = f"transcript-{run_id}-{role}"
    chosen = st.selectbox("Scenario", scenarios, key=key, width=240)
    calls = reader.calls(chosen)
    columns: Json = {column: st.column_config.NumberColumn(width="small") for column in ("decision", "ask", "attempts", "tokens in", "tokens out")}
    columns |= {"s": style.figure_column(), "money": style.figure_column(), "answer": st.column_config.TextColumn(width="medium")}
    file = f"run-{run_id}-{role}-scenario-{chosen}"
    picked = table(frame(calls), file, f"{key}-{chosen}", columns, height=320, on_select="rerun", selection_mode="single-cell")
    place = picked.selection.cells[0][0] if picked.selection.cells else 0
    in_full(calls[place])


def summed(reader: Reader) -> str:
    """The transcript in a line or two."""
    found = reader.summary()
    parts = [f"{found.calls:,} questions: {found.live:,} sent, {found.shared:,} shared with an identical one, {found.cached:,} from kept answers"]
    parts += [f"{found.failed:,} failed"] if found.failed else []
    parts += [f"{found.retries:,} attempts repeated", f"{found.invalid:,} answers without a choice"]
    line = ", ".join(parts) + f".\nPaid: {found.spent.input_tokens:,} tokens in, {found.spent.output_tokens:,} out"
    line += f", {figure(found.spent.money)} in money" if found.spent.money else ""
    return line + ("" if found.p50 is None else f"; latency {figure(found.p50)} s (median), {figure(found.p95)} s (95 %)") + "."


def frame(calls: list[Call]) -> pd.DataFrame:
    """A row per question. `ask`: 0, and more where the answer before held no choice."""
    rows = [
        {
            "decision": call.place.step, "stage": call.place.stage, "ask": call.place.ask, "answer": call.text, "choice": read(call),
            "source": call.source, "attempts": len(call.attempts), "s": call.seconds, "tokens in": call.input_tokens,
            "tokens out": call.output_tokens, "money": call.money,
        }
        for call in calls
    ]  # fmt: skip
    found = pd.DataFrame(rows).astype({"money": float})
    return found.drop(columns="money") if found["money"].isna().all() else found


def read(call: Call) -> str:
    """What the agent read in the answer."""
    return "" if call.choice is None else "none" if call.choice == INVALID else call.choice


def in_full(call: Call) -> None:
    """One question with all its messages, its answer, and how often it had to be sent."""
    stage, step, ask = call.place.stage, call.place.step, call.place.ask
    st.markdown(f"**Decision {step}, {name(stage)}" + (f", asked again ({ask})" if ask else "") + "**")
    st.caption("A click on another row of the table shows that question.")
    for message in call.messages:
        st.caption(name(str(message.get("role", ""))))
        st.code(str(message.get("content", "")), language=None, wrap_lines=True)
    st.caption("The answer" + (f", ended by {name(call.finish)}" if call.finish else "") + (", tokens estimated" if call.estimated else ""))
    st.code(call.text, language=None, wrap_lines=True)
    if call.error and not public():  # it may name the endpoint
        st.text(call.error)
    if len(call.attempts) > 1:
        for number, attempt in enumerate(call.attempts, 1):
            reason = "" if public() else f" {attempt.reason}"
            wait = f", then waited {figure(attempt.wait)} s" if attempt.wait else ""
            st.text(f"attempt {number}: {attempt.status or 'no connection'}{reason}, {figure(attempt.seconds)} s{wait}")
