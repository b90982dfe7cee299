"""``dagster-beiwe check``: test the login, the server, the studies of a researcher and the lake."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from dagster_beiwe.cli.context import (
    open_lake,
    opener,
    study_secrets,
)
from dagster_beiwe.cli.server_check import check_studies
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.ids import is_study_id
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.layout import INSIDE
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.opening import load_credentials
from dagster_beiwe.text import one_line


@click.command()
def command() -> int:
    """Test the login, the server, your studies and the lake."""
    credentials = load_credentials(os.environ, prompt=True)
    with BeiweClient(credentials) as client:
        client.check_credentials()
        print(f"Server      {credentials.url}: the keys are accepted.")
        missing = client.capabilities().missing
        print(f"Endpoints   {'all are there' if not missing else 'missing: ' + ', '.join(missing)}")
        studies = client.studies()
        answers = check_studies(client, studies)
    has_keys = _check_identity()
    if not os.environ.get(BEIWE_LAKE):
        print(f"Lake        none: set {BEIWE_LAKE} to the folder or URL of the lake")
        return 1
    lake, secrets = open_lake(), study_secrets(credentials)
    usable = _check_place(lake.storage) and _check_witness(lake.witness)
    for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
        passphrase = opener().study_passphrase(secrets, study_id=study_id, name=name)
        fits, verdict = _check_passphrase(lake, study_id, passphrase)
        usable = usable and fits
        print(f"  {study_id}  {verdict}")
    return 0 if usable and studies and answers and has_keys else 1


def _check_identity() -> bool:
    """Whether the private key of age, if one is set, can be used."""
    try:
        identity = opener().identity()
    except ConfigurationError as error:
        print(f"Identity    {one_line(str(error))}")
        return False
    if identity is not None:
        print("Identity    the private key of age can be read.")
    return True


def _check_place(storage: Storage) -> bool:
    """Whether the lake can be written. A folder that does not exist is not created."""
    if isinstance(storage, LocalStorage) and not storage.root.exists():
        above = next(each for each in storage.root.parents if each.exists())
        usable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        print(
            f"Lake        {storage.describe()}: not there yet. "
            + ("The first run makes it. " if usable else f"It can't be made, because {above} can't be written to. ")
            + f"If data should be there, correct {BEIWE_LAKE}, or mount its disk."
        )
        return usable
    probe = f".dagster-beiwe-check-{os.urandom(8).hex()}"
    storage.create_new(probe, b"")
    storage.delete(probe)
    print(f"Lake        {storage.describe()}: can be written")
    return True


def _check_witness(witness: Storage | None) -> bool:
    """Whether the witness, if there is one, can be read. Nothing is written there, because nothing cleans it up."""
    if witness is None:
        return True
    try:
        with suppress(FileNotFoundError):  # a listing treats a missing folder and a file in its place alike
            witness.read(INSIDE)
        studies = sum(map(is_study_id, witness.list("")))
    except BeiweError as error:
        print(f"Witness     {one_line(str(error))}")
        return False
    print(f"Witness     {witness.describe()}: can be read; studies in it: {studies}")
    return True


def _check_passphrase(lake: BeiweLake, study_id: str, passphrase: str | None) -> tuple[bool, str]:
    """Whether runs of a study can continue its log and encrypt as before, and a verdict in words."""
    try:
        held = Opening(lake.storage, study_id, passphrase, witness=lake.witness).catalog() is not None
    except BeiweError as error:
        return False, one_line(str(error))
    if passphrase:
        return True, "passphrase accepted" if held else "new study: there is nothing to compare the passphrase with"
    if held:
        return True, "no passphrase, as it was written"
    return False, (
        f"no passphrase: runs fail. Set {BEIWE_LAKE_PASSPHRASE}, or give the study one with `dagster-beiwe keyring "
        "passphrase`. (Only studies with `encryption: age` or `encryption: none` need none.)"
    )
