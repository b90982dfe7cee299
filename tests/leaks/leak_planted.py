"""What a careless lab would do, one asset per mistake. Each says a token of its own, and a real row."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from dagster_beiwe import BeiweResource, KeyringCredentials, StudyFacts

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


class CarelessResource(dg.ConfigurableResource):
    """A secret in a field, for all to see."""

    secret: str


def planted_resources() -> dg.Definitions:
    resources = {"careless": CarelessResource(secret=TOKENS["configured"]), "disk": dg.FilesystemIOManager()}
    return dg.Definitions(resources=resources)


def planted_assets(study: StudyFacts) -> Sequence[dg.AssetsDefinition]:
    """One asset per mistake, for the first study."""
    if study.name != "Canary One":
        return []
    return [_asset(study, name, mistake) for name, mistake in MISTAKES.items()]


def _asset(study: StudyFacts, name: str, mistake: Callable[..., object]) -> dg.AssetsDefinition:
    @dg.asset(key=["beiwe", study.key, f"planted_{name}"], io_manager_key="disk", required_resource_keys={"careless"})
    def careless(context: dg.AssetExecutionContext) -> str:
        result = mistake(context, f"{_row(study)} {TOKENS[name]}")
        return str(result) if name == "pickled" else ""

    return careless


def _row(study: StudyFacts) -> str:
    """A row of somebody's GPS, read as a lab reads it."""
    beiwe = BeiweResource(credentials=KeyringCredentials())
    lake = beiwe.study_lake(study)
    for person in lake.participants():
        for manifest in lake.manifests(person):
            for record in manifest.files:
                text = lake.read(person, record).decode()
                if record.stream == "gps" and os.environ["LEAK_ROW"] in text:
                    return text.splitlines()[1]
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
