"""``dagster-beiwe check``: test the login, the server, the studies of a researcher and the lake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import (
    open_lake,
    opener,
    study_secrets,
)
from dagster_beiwe.cli.options import json_option, optional_study_option
from dagster_beiwe.cli.output import Diagnosis, print_diagnoses
from dagster_beiwe.cli.server_check import check_studies
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.credentials import Secret
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.ids import is_study_id
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.layout import INSIDE
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.opening import load_credentials, secret_sources
from dagster_beiwe.text import one_line


@click.command(cls=Command, examples=["check", "check --json"])
@optional_study_option
@json_option
def command(*, study: str | None, as_json: bool) -> int:
    """Test the login, the server, your studies and the lake."""
    return 0 if print_diagnoses(_diagnoses(study), as_json=as_json) else 1


def _diagnoses(wanted: str | None) -> Iterator[Diagnosis]:
    credentials = load_credentials(os.environ, prompt=True)
    yield _list_sources()
    with BeiweClient(credentials) as client:
        client.check_credentials()
        text = f"Server      {credentials.url}: the keys are accepted."
        yield Diagnosis(subject="server", text=text, facts={"url": credentials.url})
        missing = list(client.capabilities().missing)
        lacking = f"without {', '.join(missing)}, as on older servers; nothing to do"
        text = f"Endpoints   {lacking if missing else 'all available'}"
        yield Diagnosis(subject="endpoints", text=text, facts={"missing": missing})
        studies = client.studies()
        if wanted is not None:
            chosen = find_study(studies, wanted)
            studies = {chosen.id: chosen.name}
        yield from check_studies(client, studies)
    yield from _check_identity()
    if not os.environ.get(BEIWE_LAKE):
        yield _of_place(
            "lake", None, f"none: set {BEIWE_LAKE} to the folder or URL of the lake", passed=False, exists=False
        )
        return
    lake, secrets = open_lake(), study_secrets(credentials)
    yield check_place(lake.storage)
    if lake.witness:
        yield _check_witness(lake.witness)
    for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
        passphrase = opener().find_passphrase(secrets, study_id=study_id, name=name)
        yield check_passphrase(lake, study_id, passphrase)


def _list_sources() -> Diagnosis:
    """Where each secret of the server was found."""
    sources = secret_sources(os.environ)
    lines = [f"  {name:16}  {source}" for name, source in sources.items()]
    facts = {name: asdict(source) for name, source in sources.items()}
    return Diagnosis(subject="secrets", text="\n".join(["Secrets     found in:", *lines]), facts={"sources": facts})


def _check_identity() -> Iterator[Diagnosis]:
    """Whether the private key of age, if one is set, can be used."""
    error = None
    try:
        if opener().identity() is None:
            return
    except ConfigurationError as failure:
        error = one_line(str(failure))
    text = f"Identity    {error or 'the private key of age can be read.'}"
    yield Diagnosis(subject="identity", text=text, passed=error is None, facts={"error": error})


def check_place(storage: Storage) -> Diagnosis:
    """Whether the lake is writable and its store refuses to overwrite an existing file."""
    if isinstance(storage, LocalStorage) and not storage.root.exists():
        above = next(each for each in storage.root.parents if each.exists())
        usable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        said = (
            "not there yet. "
            + ("The first run creates it. " if usable else f"It cannot be created, because {above} is not writable. ")
            + f"If data should be there, correct {BEIWE_LAKE}, or mount its disk."
        )
        return _of_place("lake", storage, said, passed=usable, exists=False)
    probe = f".dagster-beiwe-check-{os.urandom(8).hex()}"
    storage.create_new(probe, b"")
    try:
        storage.prove_exclusive(probe, b"")
    finally:
        storage.delete(probe)
    return _of_place("lake", storage, "can be written", exists=True)


def _check_witness(witness: Storage) -> Diagnosis:
    """Whether the witness can be read. Nothing is written there, because nothing cleans it up."""
    try:
        with suppress(FileNotFoundError):  # a listing treats a missing folder and a file in its place alike
            witness.read(INSIDE)
        studies = sum(map(is_study_id, witness.list("")))
    except BeiweError as error:
        said = one_line(str(error))
        return _of_place("witness", witness, said, passed=False, studies=None)
    return _of_place("witness", witness, f"can be read; studies in it: {studies}", studies=studies)


def _of_place(subject: str, storage: Storage | None, said: str, *, passed: bool = True, **facts: Any) -> Diagnosis:
    place = storage and storage.describe()
    return Diagnosis(
        subject=subject,
        text=f"{subject.capitalize():12}{f'{place}: ' if place else ''}{said}",
        passed=passed,
        facts={"place": place, **facts, "error": None if passed else said},
    )


def check_passphrase(lake: BeiweLake, study_id: str, secret: Secret | None) -> Diagnosis:
    """Whether runs of a study can continue its log and encrypt as before."""
    held, error = None, None
    passphrase = secret.value if secret else None
    try:
        held = Opening(lake.storage, study_id, passphrase, witness=lake.witness).catalog() is not None
    except BeiweError as failure:
        error = one_line(str(failure))
    if not (error or passphrase or held):
        error = (
            f"no passphrase: runs fail. Set {BEIWE_LAKE_PASSPHRASE}, or give the study one with `dagster-beiwe keyring "
            "passphrase`. (Only studies with `encryption: age` or `encryption: none` need none.)"
        )
    verdict = "passphrase accepted" if held else "new study: there is nothing to compare the passphrase with"
    verdict = f"{verdict} ({secret.source})" if secret else "no passphrase, as it was written"
    return Diagnosis(
        subject="passphrase",
        text=f"  {study_id}  {error or verdict}",
        passed=error is None,
        facts={
            "study_id": study_id,
            "held": held,
            "given": bool(passphrase),
            "source": secret and asdict(secret.source),
            "error": error,
        },
    )
