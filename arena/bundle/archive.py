"""Archives of one single form: ZIP that every tool opens, in which nothing is left to choose.

All members are stored as they are, in a fixed order, with fixed dates and rights, without gaps, extra fields or comments. So equal content is
equal bytes, a reader can hold every byte of the container against the one it must be, and there is nothing to unpack that could grow.
Layout: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from arena.errors import ArenaError

LIMIT = 2_000_000_000  # bytes of a whole bundle; ZIP itself, without extensions, ends at 2^32
MEMBERS = 65_535
FIRST = "manifest.json"
BLOCK = 1 << 20
NAMES = re.compile(
    r"(manifest|runs|environment)\.json|(standings|measurements)\.parquet|recordings/([0-9a-f]{2})/\3[0-9a-f]{62}\.zst|cards/[0-9a-f]{32}\.md"
)

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_VERSION, _UNIX, _DATE = 20, 3 << 8, 1 << 5 | 1  # 1 January 1980, the first day that ZIP knows
_RIGHTS = 0o100644 << 16


@dataclass(frozen=True)
class Member:
    """A file of an archive. sha256 and crc: of its content, read once; start: its first byte in the archive."""

    name: str
    size: int
    crc: int
    sha256: str
    start: int = 0


def measured(name: str, source: bytes | Path) -> Member:
    """Size and sums of what is to become a member."""
    crc, size, sha256 = 0, 0, hashlib.sha256()
    for block in _blocks(source):
        crc, size = zlib.crc32(block, crc), size + len(block)
        sha256.update(block)
    return Member(name, size, crc, sha256.hexdigest())


def write_archive(file: BinaryIO, members: Sequence[tuple[Member, bytes | Path]]) -> None:
    """Write all members, in the order given. Raises ArenaError bundle.too_large before anything is written."""
    total = sum(member.size for member, _ in members)
    if total > LIMIT or len(members) > MEMBERS:
        reason = f"the bundle would hold {len(members):,} files of {total:,} bytes; at most {MEMBERS:,} files of {LIMIT:,} bytes go into one"
        raise ArenaError("bundle.too_large", reason, "export the runs in several bundles")
    offset, directory = 0, b""
    for member, source in members:
        header = _local(member)
        file.write(header)
        written = zlib.crc32(b"")
        for block in _blocks(source):
            written = zlib.crc32(block, written)
            file.write(block)
        if written != member.crc:
            raise ArenaError("store.io", f"{member.name} changed while it was being read", "export again")
        directory += _central(member, offset)
        offset += len(header) + member.size
    file.write(directory)
    file.write(_end(len(members), len(directory), offset))


def read_archive(file: BinaryIO, place: str) -> dict[str, Member]:
    """The members of an archive, after every byte of it was held against what it must be.

    Raises ArenaError bundle.too_large, bundle.damaged naming the file within.
    """
    size = file.seek(0, os.SEEK_END)
    if size > LIMIT:
        raise ArenaError("bundle.too_large", f"{place} has {size:,} bytes, at most {LIMIT:,} are read", "ask for it in several bundles")
    if size < _END.size:
        raise _damaged(place, "", "is no bundle")
    file.seek(size - _END.size)
    end = file.read(_END.size)
    _, _, _, count, _, length, begin, _ = _END.unpack(end)
    if end != _end(count, length, begin) or begin + length + _END.size != size:
        raise _damaged(place, "", "is no bundle, or its end is damaged")
    file.seek(begin)
    directory = file.read(length)
    found: dict[str, Member] = {}
    offset, at = 0, 0
    for _ in range(count):
        if len(directory) < at + _CENTRAL.size:
            raise _damaged(place, "", "has a directory that ends early")
        fields = _CENTRAL.unpack_from(directory, at)
        crc, packed, unpacked, width, extra, comment = fields[7:13]
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + width]
        name = raw.decode("ascii", "backslashreplace")
        member = Member(name, unpacked, crc, "", offset + _LOCAL.size + width)
        entry, header = _central(member, offset), _local(member)
        if not NAMES.fullmatch(name):
            raise _damaged(place, name, "is no file that belongs into a bundle")
        if directory[at : at + len(entry)] != entry:
            raise _damaged(place, name, _oddity(fields))
        if name in found:
            raise _damaged(place, name, "is there twice")
        if member.start + member.size > begin:
            raise _damaged(place, name, f"is said to have {member.size:,} bytes, more than there are")
        file.seek(offset)
        if file.read(len(header)) != header:
            raise _damaged(place, name, "has a damaged header")
        found[name] = _summed(file, place, member)
        offset, at = member.start + member.size, at + len(entry)
    if at != len(directory) or offset != begin:
        raise _damaged(place, "", "holds bytes that belong to none of its files")
    order = list(found)
    if order != [FIRST, *sorted(set(order) - {FIRST})]:
        raise _damaged(place, next(iter(order), ""), f"stands in the wrong place: {FIRST} comes first, the others follow in order")
    return found


def read_member(file: BinaryIO, member: Member) -> bytes:
    file.seek(member.start)
    return file.read(member.size)


def _summed(file: BinaryIO, place: str, member: Member) -> Member:
    """The member with the digest of its content. Raises ArenaError where its checksum is another."""
    crc, left, sha256 = 0, member.size, hashlib.sha256()
    while left:
        block = file.read(min(BLOCK, left))
        if not block:
            raise _damaged(place, member.name, "ends early")
        crc, left = zlib.crc32(block, crc), left - len(block)
        sha256.update(block)
    if crc != member.crc:
        raise _damaged(place, member.name, "is damaged: its checksum is not that of its content")
    return Member(member.name, member.size, crc, sha256.hexdigest(), member.start)


def _local(member: Member) -> bytes:
    name = member.name.encode("ascii", "replace")
    return _LOCAL.pack(0x04034B50, _VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0) + name


def _central(member: Member, offset: int) -> bytes:
    name = member.name.encode("ascii", "replace")
    sizes = (member.crc, member.size, member.size, len(name))
    return _CENTRAL.pack(0x02014B50, _UNIX | _VERSION, _VERSION, 0, 0, 0, _DATE, *sizes, 0, 0, 0, 0, _RIGHTS, offset) + name


def _end(count: int, length: int, begin: int) -> bytes:
    return _END.pack(0x06054B50, 0, 0, count, count, length, begin, 0)


def _oddity(fields: tuple[int, ...]) -> str:
    """What is wrong with an entry of the directory, as far as it can be told."""
    _, made, _, flags, method = fields[:5]
    if method:
        return "is compressed"
    if flags & 1:
        return "is encrypted"
    if made >> 8 == 3 and (fields[15] >> 28) == 0o12:
        return "is a link"
    return "is not written as a bundle's files are"


def _damaged(place: str, name: str, what: str) -> ArenaError:
    subject = f"{place}: {name}" if name else place
    hint = "copy it again from where it came; only files written by `arena export` are read"
    return ArenaError("bundle.damaged", f"{subject} {what}", hint, bundle=place, file=name)


def _blocks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as file:
        while block := file.read(BLOCK):
            yield block
