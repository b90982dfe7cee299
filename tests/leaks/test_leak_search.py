"""The search itself: in whatever form and package a canary lies, it is seen."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import sqlite3
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote_plus

import pandas as pd
import pyarrow as pa
import pytest
import zstandard
from leak_needles import Needles
from leak_search import search_bytes, search_folder

PLACE = ("12.34567123401", "-98.76541234502")
FRAME = pd.DataFrame({"latitude": [float(PLACE[0])] * 3, "longitude": [float(PLACE[1])] * 3, "accuracy": [5.0] * 3})
NEEDLES = Needles.of({"text": "the ninth lamp"}, places={"place": PLACE})


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", FRAME.to_csv())
    return out.getvalue()


def _deflated() -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(FRAME.to_csv().encode()) + packer.flush()


def _feather() -> bytes:
    out = io.BytesIO()
    FRAME.to_feather(out)
    return out.getvalue()


def _arrow_stream() -> bytes:
    out = io.BytesIO()
    table = pa.Table.from_pandas(FRAME)
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return out.getvalue()


KEPT: dict[str, bytes] = {
    "one number in a sentence": b"walked to 12.34567, then home",
    "the other, rounded": f"{-98.76541234502:.6f}".encode(),
    "apart, in JSON": json.dumps([{"lon": row[1], "lat": row[0]} for row in FRAME.to_numpy().tolist()]).encode(),
    "a row cut at its commas": repr(FRAME.to_csv().splitlines()[1].split(",")[:2]).encode(),
    "a pickled frame": pickle.dumps(FRAME),
    "a pickled number": pickle.dumps({"lat": float(PLACE[0])}),
    "a double, big-endian": FRAME["longitude"].to_numpy(">f8")[:1].tobytes(),
    "a column in single precision": FRAME["latitude"].to_numpy("<f4").tobytes(),
    "rows in single precision": FRAME[["latitude", "longitude"]].to_numpy("<f4")[:1].tobytes(),
    "Parquet": FRAME.to_parquet(),
    "Feather": _feather(),
    "an Arrow stream": _arrow_stream(),
    "a deflated zip": _zip(),
    "raw deflate": _deflated(),
    "zlib of a Parquet file": zlib.compress(FRAME.to_parquet()),
}


@pytest.mark.parametrize("kept", KEPT)
def test_a_place_is_seen_however_it_is_kept(kept: str) -> None:
    """Each number by itself, as text or as a computer keeps it, packed or not."""
    assert {leak.canary for leak in search_bytes(KEPT[kept], kept, NEEDLES)} == {"place"}


def test_another_place_is_not_seen() -> None:
    """The hunt finds nothing where nothing is."""
    elsewhere = FRAME + 1
    for data in (elsewhere.to_csv().encode(), pickle.dumps(elsewhere), elsewhere.to_parquet()):
        assert search_bytes(data, "elsewhere", NEEDLES) == []


@pytest.mark.parametrize("form", [b"%b", b"\x00\x01%b\xff", b'{"a": "%b"}'])
def test_bytes_around_a_canary_hide_nothing(form: bytes) -> None:
    """Wherever it stands."""
    assert {leak.canary for leak in search_bytes(form % b"the ninth lamp", "here", NEEDLES)} == {"text"}


def test_every_form_and_package_is_seen(tmp_path: Path) -> None:
    """Encoded, compressed, nested, in a database, in a name."""
    needles = Needles.of({"key": "abc+/defghijklmnop"})
    text = b"abc+/defghijklmnop"
    forms = {
        "url": quote_plus(text.decode()).encode(),
        "hex": text.hex().encode(),
        "utf-16": text.decode().encode("utf-16-le"),
        **{f"base64 {n}": base64.b64encode(b"-" * n + text + b"-" * 5) for n in range(6)},
        "zlib": zlib.compress(text),
        "gzip of zstd": gzip.compress(zstandard.compress(text)),
    }
    for name, data in forms.items():
        assert search_bytes(data, name, needles), name
    with sqlite3.connect(tmp_path / "any.db") as database:
        database.execute("CREATE TABLE t (a BLOB)")
        database.execute("INSERT INTO t VALUES (?)", (zlib.compress(text),))
    database.close()
    assert [leak.place for leak in search_folder(tmp_path, needles)] == ["any.db, table t (zlib)"]
    (tmp_path / "of-abcdefgh.txt").touch()
    assert [leak.place for leak in search_folder(tmp_path, Needles.of({"name": "of-abcdefgh"}))] == [
        "name of of-abcdefgh.txt"
    ]
