"""Archives and tables that `arena export` has not written: other forms, other tools, what grows when it is unpacked."""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO

import pytest
import zstandard
from bundle_helpers import packed, refused

from arena.bundle import archive, checking, export_runs, import_bundle, tables
from arena.bundle.archive import FIRST
from arena.bundle.checking import RUNS
from arena.errors import ArenaError
from arena.store import open_store

# ---- what grows ------------------------------------------------------------------------------------------------------------


def test_a_recording_that_grows_is_refused_before_it_has_grown(original, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "MAX_RECORDING", 1 << 22)
    name = next(name for name in original if name.startswith("recordings/"))
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    assert len(bomb) < 10_000
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {name: bomb}))
    assert error.context["file"] == name and "unpacks to more than 4,194,304 bytes" in error.message


def test_recordings_that_grow_together_are_refused(bundle, fresh, tmp_path, monkeypatch):
    from arena.bundle import reading

    monkeypatch.setattr(reading, "MAX_RECORDINGS", 4000)
    assert refused(fresh, tmp_path / "x.arena.zip", bundle.read_bytes()).code == "bundle.too_large"


def test_a_bundle_beyond_the_limit_is_neither_written_nor_read(origin, bundle, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 20_000)
    error = refused(fresh, tmp_path / "x.arena.zip", bundle.read_bytes())
    assert error.code == "bundle.too_large" and "at most 20,000 are read" in error.message
    with open_store(None, origin[0], read_only=True) as there, pytest.raises(ArenaError) as error:
        export_runs(there, [1, 2, 3, 4], tmp_path / "y.arena.zip")
    assert error.value.code == "bundle.too_large" and not (tmp_path / "y.arena.zip").exists() and not list(tmp_path.glob(".*"))


def test_tables_that_claim_to_grow_are_refused(bundle, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LIMIT", 3000)
    assert "is said to unpack to more than 3,000 bytes" in refused(fresh, tmp_path / "x.arena.zip", bundle.read_bytes()).message


# ---- archives of others ----------------------------------------------------------------------------------------------------


def foreign(original, add=(), method=zipfile.ZIP_STORED, rights=0o100644 << 16):
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in [(FIRST, original[FIRST]), *sorted((k, v) for k, v in original.items() if k != FIRST), *add]:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = rights, method
            made.writestr(info, content)
    return file.getvalue()


def test_the_same_form_by_another_tool_is_a_bundle(original, bundle):
    assert foreign(original) == bundle.read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("/etc/passwd", {}, "is no file that belongs into a bundle"),
        ("../outside.md", {}, "is no file that belongs into a bundle"),
        ("recordings/../../x.zst", {}, "is no file that belongs into a bundle"),
        ("C:\\x", {}, "is no file that belongs into a bundle"),
        ("model.pkl", {}, "is no file that belongs into a bundle"),
        ("recordings/ab/" + "c" * 64 + ".zst", {}, "is no file that belongs into a bundle"),
        ("cards/é.md", {}, "is no file that belongs into a bundle"),
        (RUNS, {}, "is there twice"),
        (None, {"method": zipfile.ZIP_DEFLATED}, "is compressed"),
        (None, {"rights": 0o120777 << 16}, "is a link"),
        (None, {"rights": 0o100755 << 16}, "is not written as a bundle's files are"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_of_another_form_are_refused(original, fresh, tmp_path, name, options, reason):
    error = refused(fresh, tmp_path / "x.arena.zip", foreign(original, [] if name is None else [(name, b"x")], **options))
    assert error.code == "bundle.damaged" and reason in error.message and not (tmp_path.parent / "outside.md").exists()


def test_files_that_the_manifest_does_not_list_and_listed_ones_that_are_not_there(original, fresh, tmp_path):
    manifest = original[FIRST]
    extra = f"cards/{'f' * 32}.md"
    error = refused(fresh, tmp_path / "x", packed(original | {extra: b"x"}, manifest))
    assert error.context["file"] == extra and "is not listed in the manifest" in error.message
    less = {name: content for name, content in original.items() if name != tables.STANDINGS}
    error = refused(fresh, tmp_path / "x", packed(less, manifest))
    assert error.context["file"] == tables.STANDINGS and "not there" in error.message
    assert "is missing" in refused(fresh, tmp_path / "x", packed(less)).message


@pytest.mark.parametrize("where", ["before", "behind", "comment", "between"])
def test_bytes_that_belong_to_no_file_are_refused(bundle, fresh, tmp_path, where):
    content = bundle.read_bytes()
    count, length, begin = struct.unpack("<HII", content[-12:-2])
    altered = {
        "before": b"#!/bin/sh\n" + content,
        "behind": content + b"\0",
        "comment": content[:-2] + b"\x02\0hi",
        "between": content[:begin] + b"hidden" + content[begin:-12] + struct.pack("<HIIH", count, length, begin + 6, 0),
    }[where]
    assert refused(fresh, tmp_path / "x.arena.zip", altered).code == "bundle.damaged"


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no archive at all, but a file of some length", bytes(3000)])
def test_what_is_no_archive_is_refused(fresh, tmp_path, content):
    assert refused(fresh, tmp_path / "x.arena.zip", content).code == "bundle.damaged"


def test_a_file_that_is_not_there(fresh, tmp_path):
    for path in (tmp_path / "nothing.zip", tmp_path):
        with pytest.raises(ArenaError) as error:
            import_bundle(fresh, path)
        assert error.value.code == "unknown.file" and error.value.exit_code == 6


# ---- tables of others --------------------------------------------------------------------------------------------------------


def test_tables_of_another_form_are_refused(original, fresh, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def parquet(table, **options):
        file = BytesIO()
        pq.write_table(table, file, **options)
        return file.getvalue()

    values = pq.read_table(BytesIO(original[tables.MEASUREMENTS]))
    others = {
        "as_it_was": (values, "row groups"),
        "a_column_less": (values.drop_columns(["metric"]), "has the columns"),
        "single_floats": (values.set_column(4, "value", values["value"].cast(pa.float32())), "has the columns"),
        "a_value_less": (values.set_column(4, "value", pa.array([None, *values["value"].to_pylist()[1:]], pa.float64())), "row groups"),
    }
    for table, reason in others.values():
        assert reason in refused(fresh, tmp_path / "x", packed(original | {tables.MEASUREMENTS: parquet(table, store_schema=False)})).message
    lines = pq.read_table(BytesIO(original[tables.STANDINGS]))
    for altered, reason in (
        (pa.concat_tables([lines, lines]), "a line is there twice"),
        (lines.set_column(3, "headline", pa.array([None] * 3, pa.float64())), "a value is missing"),
        (lines.set_column(1, "role", pa.array(["seller"] * 3)), "is not of its runs"),
        (lines.set_column(0, "task", pa.array(["0" * 64] * 3)), "of runs that are not"),
        (lines.set_column(15, "runs", pa.array([["0" * 32]] * 3)), "of runs that are not"),
    ):
        error = refused(fresh, tmp_path / "x", packed(original | {tables.STANDINGS: parquet(altered, store_schema=False)}))
        assert reason in error.message and error.context["file"] == tables.STANDINGS
