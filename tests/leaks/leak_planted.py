"""What a careless lab would do, one asset per mistake. Each gives away something of its own.

Texts give away a token and a real row; numbers are at a place of their own, which is nowhere as text ``lat,lon``; and
what strace can't show is told by the name of the file.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

import io
import json
import mmap
import os
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe import BeiweResource, KeyringCredentials, Study

TOKENS = {
    name: f"planted-{name}-4f1d"
    for name in (
        "logged",
        "printed",
        "metadata",
        "raised",
        "temporary",
        "anonymous",
        "compressed",
        "pickled",
        "named",
        "configured",
    )
}


PLACES = {
    name: (f"{31 + number}.27182345904", f"-{131 + number}.57722156649")
    for number, name in enumerate(
        ("one_number", "apart", "split", "frame", "doubles", "singles", "parquet", "feather", "zipped", "deflated")
    )
}
"""{mistake: latitude and longitude that it gives away}; five decimals stay the same when they are rounded."""

UNSHOWN = {"mapped": "mmap", "sent": "sendfile", "copied": "copy_file_range", "spliced": "splice"}
"""{mistake: the system call by which bytes come into a file}."""


class CarelessResource(dg.ConfigurableResource[Any]):
    """A secret in a field, for all to see."""

    secret: str


def planted_resources() -> dg.Definitions:
    resources = {"careless": CarelessResource(secret=TOKENS["configured"]), "disk": dg.FilesystemIOManager()}
    return dg.Definitions(resources=resources)


def planted_assets(study: Study) -> Sequence[dg.AssetsDefinition]:
    """One asset per mistake, for the first study."""
    if study.name != "Canary One":
        return []
    return [_asset(study, name) for name in (*TOKENS, *PLACES, *UNSHOWN)]


def _asset(study: Study, name: str) -> dg.AssetsDefinition:
    @dg.asset(key=["beiwe", study.key, f"planted_{name}"], io_manager_key="disk", required_resource_keys={"careless"})
    def careless(context: dg.AssetExecutionContext) -> str:
        if name in PLACES:
            NUMBERS[name](context, _frame(study, *map(float, PLACES[name])))
        elif name in UNSHOWN:
            MOVES[name](_row(study).encode())
        else:
            result = MISTAKES[name](context, f"{_row(study)} {TOKENS[name]}")
            return str(result) if name == "pickled" else ""
        return ""

    return careless


def _row(study: Study) -> str:
    return _file(study).splitlines()[1]


def _frame(study: Study, latitude: float, longitude: float) -> pd.DataFrame:
    """Somebody's GPS, at another place."""
    rows = io.StringIO(_file(study))
    frame: pd.DataFrame = pd.read_csv(rows).assign(latitude=latitude, longitude=longitude)
    return frame


def _file(study: Study) -> str:
    """A file of somebody's GPS, read as a lab reads it."""
    beiwe = BeiweResource(credentials=KeyringCredentials())
    lake = beiwe.study_lake(study)
    for person in lake.participants():
        for manifest in lake.manifests(person):
            for record in manifest.files:
                text = lake.read(person, record).decode()
                if record.stream == "gps" and os.environ["LEAK_ROW"] in text:
                    return text
    raise LookupError("the row with the canary is not in the lake")


def _raise(context: dg.AssetExecutionContext, row: str) -> object:
    raise ValueError(row)


def _temporary(context: dg.AssetExecutionContext, row: str) -> object:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(row)
    return None


def _anonymous(context: dg.AssetExecutionContext, row: str) -> object:
    with tempfile.TemporaryFile("w") as file:
        file.write(row)
    return None


MISTAKES: dict[str, Callable[..., object]] = {
    "logged": lambda context, row: context.log.info(row),
    "printed": lambda context, row: print(row),
    "metadata": lambda context, row: context.add_output_metadata({"first row": row}),
    "raised": _raise,
    "temporary": _temporary,
    "anonymous": _anonymous,
    "compressed": lambda context, row: Path(tempfile.gettempdir(), "rows.z").write_bytes(zlib.compress(row.encode())),
    "pickled": lambda context, row: row,
    "named": lambda context, row: Path(tempfile.gettempdir(), row.rpartition(" ")[2]).touch(),
    "configured": lambda context, row: None,
}


def _temporary_file(suffix: str) -> Path:
    return Path(tempfile.gettempdir(), f"rows{suffix}")


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _zipped(context: dg.AssetExecutionContext, frame: pd.DataFrame) -> object:
    with zipfile.ZipFile(_temporary_file(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", _csv(frame))
    return None


def _deflated(context: dg.AssetExecutionContext, frame: pd.DataFrame) -> object:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return _temporary_file(".raw").write_bytes(packer.compress(_csv(frame)) + packer.flush())


NUMBERS: dict[str, Callable[[dg.AssetExecutionContext, pd.DataFrame], object]] = {
    "one_number": lambda context, frame: context.log.info("latitude about %.5f", frame["latitude"].mean()),
    "apart": lambda context, frame: context.log.info(
        json.dumps(frame[["longitude", "accuracy", "latitude"]].to_dict())
    ),
    "split": lambda context, frame: print(_csv(frame).decode().splitlines()[1].split(",")),
    "frame": lambda context, frame: _temporary_file(".pickle").write_bytes(pickle.dumps(frame)),
    "doubles": lambda context, frame: _temporary_file(".npy").write_bytes(frame["latitude"].to_numpy().tobytes()),
    "singles": lambda context, frame: _temporary_file(".f4").write_bytes(
        frame[["latitude", "longitude"]].to_numpy("<f4").tobytes()
    ),
    "parquet": lambda context, frame: frame.to_parquet(_temporary_file(".parquet")),
    "feather": lambda context, frame: frame.to_feather(_temporary_file(".feather")),
    "zipped": _zipped,
    "deflated": _deflated,
}


def _in_memory(data: bytes, name: str) -> int:
    """A file that is only in memory, filled without a write."""
    descriptor = os.memfd_create(name)
    os.ftruncate(descriptor, len(data))
    with mmap.mmap(descriptor, len(data)) as memory:
        memory[:] = data
    return descriptor


def _moved(name: str, move: Callable[[int, int, int], object]) -> Callable[[bytes], None]:
    """Into a file that is removed at once, without a write."""

    def mistake(data: bytes) -> None:
        source = _in_memory(data, "source")
        with tempfile.NamedTemporaryFile(prefix=name) as file:
            move(source, file.fileno(), len(data))
        os.close(source)

    return mistake


def _splice(source: int, target: int, size: int) -> None:
    out, into = os.pipe()
    os.splice(source, into, size)
    os.splice(out, target, size)
    os.close(out)
    os.close(into)


MOVES: dict[str, Callable[[bytes], None]] = {
    "mapped": lambda data: os.close(_in_memory(data, "mapped")),
    "sent": _moved("sent", lambda source, target, size: os.sendfile(target, source, 0, size)),
    "copied": _moved("copied", lambda source, target, size: os.copy_file_range(source, target, size, 0)),
    "spliced": _moved("spliced", _splice),
}
