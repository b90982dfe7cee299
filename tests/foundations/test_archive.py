"""Reading archives front to back: what arrives whole is right, and what does not is never taken for whole."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
from core_helpers import chunked, zip_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.archive import CHUNK_BYTES, REGISTRY, read_archive
from dagster_beiwe.errors import ArchiveError, DamagedMemberError, HostileArchiveError, TruncatedArchiveError

CONTENTS: dict[str, list[tuple[str, bytes]]] = {
    "nothing": [(REGISTRY, b"{}")],
    "one": [("p1/gps/a.csv", b"x"), (REGISTRY, b"{}")],
    "empty file": [("a", b""), ("b", b"b"), (REGISTRY, b"")],
    "signatures inside": [
        ("a", b"PK\x03\x04" * 9 + b"PK\x05\x06" * 9),
        ("b", b"PK\x01\x02"),
        (REGISTRY, b"PK\x05\x06"),
    ],
    "unicode name": [("p1/gps/é.csv", b"1"), (REGISTRY, b"{}")],
    "larger than a chunk": [("big", bytes(range(256)) * 1200), ("c", b"c"), (REGISTRY, b"{}")],
    "many": [(f"m{number}", b"%d" % number) for number in range(300)] + [(REGISTRY, b"{}")],
}


def everything(chunks: Iterable[bytes]) -> list[tuple[str, bytes]]:
    return [(member.name, b"".join(member.body)) for member in read_archive(chunks)]


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("content", CONTENTS)
def test_members_come_as_they_were_packed(content: str, size: int) -> None:
    """Names and bytes equal those that zipfile reads, however the transport cuts the archive."""
    data = zip_of(CONTENTS[content])
    with zipfile.ZipFile(io.BytesIO(data)) as oracle:
        expected = [(info.filename, oracle.read(info)) for info in oracle.infolist()]
    assert everything(chunked(data, size)) == expected


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=200), max_size=6),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30),
)
def test_chunk_borders_do_not_matter(bodies: list[bytes], sizes: list[int]) -> None:
    """Arbitrary members in arbitrary chunks, empty ones among them, come through unchanged."""
    members = [(f"m{number}", body) for number, body in enumerate(bodies)] + [(REGISTRY, b"{}")]
    data, chunks = zip_of(members), list[bytes]()
    while data:
        size = sizes[len(chunks) % len(sizes)]
        chunks += [data[:size], b""]
        data = data[size:]
    assert everything(chunks) == members


def test_chunks_are_bounded_and_bodies_may_be_skipped() -> None:
    """A large member comes in chunks; what is not read does not hinder the next member."""
    data = zip_of([("big", bytes(CHUNK_BYTES * 2 + 1)), ("small", b"s"), (REGISTRY, b"{}")])
    sizes = [[len(chunk) for chunk in member.body] for member in read_archive([data])]
    assert sizes == [[CHUNK_BYTES, CHUNK_BYTES, 1], [1], [2]]
    assert [(member.name, member.size_bytes) for member in read_archive([data])] == [
        ("big", CHUNK_BYTES * 2 + 1),
        ("small", 1),
        (REGISTRY, 2),
    ]


def test_an_archive_cut_at_any_byte_is_noticed() -> None:
    """Not one of the shorter versions of an archive passes for whole."""
    data = zip_of(CONTENTS["signatures inside"])
    for length in range(len(data)):
        with pytest.raises(TruncatedArchiveError):
            everything([data[:length]])


def test_members_before_the_cut_are_good() -> None:
    """What was complete before the connection ended can be kept."""
    data = zip_of([("a", b"first"), ("b", b"x" * 1000), (REGISTRY, b"{}")])
    found: list[bytes] = []
    with pytest.raises(TruncatedArchiveError):
        found.extend(b"".join(member.body) for member in read_archive([data[:200]]))
    assert found == [b"first"]


def test_an_archive_without_registry_is_cut() -> None:
    """A valid zip whose last member is not the registry is one that the server gave up on."""
    with pytest.raises(TruncatedArchiveError, match="registry"):
        everything([zip_of([("a", b"a")])])


def test_a_transport_error_passes_through() -> None:
    """An error of the connection reaches the caller as it is."""

    def breaking() -> Iterator[bytes]:
        yield zip_of(CONTENTS["one"])[:20]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        everything(breaking())


def test_a_wrong_crc_costs_one_member() -> None:
    """A damaged member is reported at its end by name; the members after it come."""
    data = bytearray(zip_of([("a", b"aaaa"), ("b", b"xyz!"), ("c", b"cccc"), (REGISTRY, b"{}")]))
    data[data.index(b"xyz!")] ^= 1
    found: dict[str, bytes | str] = {}
    for member in read_archive([bytes(data)]):
        try:
            found[member.name] = b"".join(member.body)
        except DamagedMemberError as error:
            found[member.name] = f"damaged {error.member}"
    assert found == {"a": b"aaaa", "b": "damaged b", "c": b"cccc", REGISTRY: b"{}"}


def test_large_sizes_are_read_from_the_zip64_field() -> None:
    """Headers near 2 GiB carry the size in an extra field, behind other fields or not."""
    other = struct.pack("<HH4s", 0x5455, 4, b"time")
    big = struct.pack("<HHQQ", 1, 16, 5, 5)
    for extra in (big, other + big):
        header = struct.pack(
            "<4sHHHHHLLLHH", b"PK\x03\x04", 45, 0, 0, 0, 0, 0x3610A686, 2**32 - 1, 2**32 - 1, 1, len(extra)
        )
        data = header + b"a" + extra + b"hello" + zip_of([(REGISTRY, b"{}")])
        members = read_archive([data])
        first = next(members)
        assert (first.size_bytes, b"".join(first.body)) == (5, b"hello")
        assert next(members).name == REGISTRY


def test_a_large_member_without_its_size_is_refused() -> None:
    """A zip64 member whose extra field lacks the size, or lies about its length, can't be read."""
    for extra in (b"", b"\x01\x00", struct.pack("<HHL", 1, 16, 5), struct.pack("<HHQ", 2, 8, 5)):
        header = struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, 1, len(extra))
        with pytest.raises(ArchiveError):
            everything([header + b"a" + extra + bytes(100)])


def test_archives_over_4_gib_end_in_a_zip64_record() -> None:
    """The zip64 end record and its locator are passed over."""
    data = zip_of(CONTENTS["one"])
    end = data.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, 99, 99)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 99, 1)
    assert everything([data[:end] + record + locator + data[end:]]) == CONTENTS["one"]


@pytest.mark.parametrize("flags", [0x0001, 0x0008, 0x0040, 0x2000])
def test_encrypted_members_and_data_descriptors_are_refused(flags: int) -> None:
    """The server never writes flags that hide a member's size or content."""
    data = bytearray(zip_of(CONTENTS["one"]))
    data[6:8] = struct.pack("<H", flags)
    with pytest.raises(ArchiveError, match="flags"):
        everything([bytes(data)])


def test_compressed_members_are_refused() -> None:
    """The server stores; a deflated member was made by somebody else."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"a" * 100)
        archive.writestr(REGISTRY, b"{}")
    with pytest.raises(ArchiveError, match="method 8"):
        everything([out.getvalue()])


def test_two_sizes_are_refused() -> None:
    """A stored member is as large as its content."""
    data = bytearray(zip_of(CONTENTS["one"]))
    data[18:22] = struct.pack("<L", 2)
    with pytest.raises(ArchiveError):
        everything([bytes(data)])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused() -> None:
    """The second of two equal names could replace the first: the archive is refused."""
    with pytest.raises(HostileArchiveError, match="twice"):
        everything([zip_of([("a", b"1"), ("a", b"2"), (REGISTRY, b"{}")])])
    with pytest.raises(ArchiveError):
        everything([zip_of([(REGISTRY, b"{}"), (REGISTRY, b"{}")])])


def test_the_registry_is_last() -> None:
    """Nothing may follow the registry."""
    with pytest.raises(ArchiveError, match="after the registry"):
        everything([zip_of([(REGISTRY, b"{}"), ("a", b"a")])])


def test_absurd_headers_are_refused() -> None:
    """Names and extra fields are short; long ones are not even read."""
    with pytest.raises(HostileArchiveError):
        everything([zip_of([("n" * 5000, b""), (REGISTRY, b"{}")])])
    data = bytearray(zip_of(CONTENTS["one"]))
    data[28:30] = struct.pack("<H", 0xFFFF)
    with pytest.raises(HostileArchiveError):
        everything([bytes(data) + bytes(70000)])


def test_names_are_text() -> None:
    """Bytes that are no UTF-8 are no name."""
    data = zip_of([("abcd", b""), (REGISTRY, b"{}")]).replace(b"abcd", b"\xff\xfe\xfd\xfc")
    with pytest.raises(HostileArchiveError):
        everything([data])


def test_the_directory_must_agree_with_the_members() -> None:
    """An end record or directory of another number of members proves a cut or a change."""
    data = zip_of(CONTENTS["many"])
    with pytest.raises(ArchiveError):
        everything([data[:-22] + data[-22:].replace(struct.pack("<H", 301), struct.pack("<H", 300))])
    directory = data.index(b"PK\x01\x02")
    first_entry = 46 + len("m0")
    with pytest.raises(ArchiveError):
        everything([data[:directory] + data[directory + first_entry :]])


@pytest.mark.parametrize("data", [b"<html>Please log in</html>", b"\0" * 100, b"{}" * 40, b"PK\x03\x05" * 20])
def test_other_documents_are_refused(data: bytes) -> None:
    """A proxy's page or anything else with status 200 is no archive."""
    with pytest.raises(ArchiveError):
        everything([data])


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_damaged_archives_never_raise_foreign_errors(data: st.DataObject) -> None:
    """Any flipped, changed, inserted or removed bytes give the members or an error of this package."""
    archive = bytearray(zip_of(CONTENTS["signatures inside"]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(archive) - 1))
        kind = data.draw(st.sampled_from(["flip", "set", "insert", "remove"]))
        if kind == "flip":
            archive[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            archive[place] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            archive[place:place] = data.draw(st.binary(max_size=8))
        else:
            del archive[place : place + data.draw(st.integers(1, 8))]
    with suppress(ArchiveError):
        everything(chunked(bytes(archive), 64))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]), max_size=8))
def test_arbitrary_bytes_never_raise_foreign_errors(chunks: list[bytes]) -> None:
    """Noise is refused, in whatever chunks."""
    with pytest.raises(ArchiveError):
        everything(chunks)


def test_every_flipped_bit_of_a_body_is_found() -> None:
    """No single wrong bit of content passes the CRC."""
    data = zip_of([("a", b"timestamp,x\n1,2\n"), (REGISTRY, b"{}")])
    start = data.index(b"timestamp")
    for bit in range(len(b"timestamp,x\n1,2\n") * 8):
        flipped = bytearray(data)
        flipped[start + bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedMemberError):
            everything([bytes(flipped)])


def test_memory_stays_at_a_chunk() -> None:
    """A member of 64 MB passes through in a few chunks' memory."""
    header = struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 1 << 26, 1 << 26, 1, 0) + b"a"
    block = bytes(1 << 16)

    def source() -> Iterator[bytes]:
        yield header
        for _ in range(1 << 10):
            yield block

    tracemalloc.start()
    try:
        for member in read_archive(source()):
            with pytest.raises((DamagedMemberError, TruncatedArchiveError)):
                for _ in member.body:
                    pass
            break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES
