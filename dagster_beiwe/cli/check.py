"""``dagster-beiwe check``: can I log in, what can this server do, what may I see, can the lake be used."""

from __future__ import annotations

import argparse
import os
from typing import Any

from dagster_beiwe.cli.context import load_credentials, open_lake
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.lake.keys import open_authenticator
from dagster_beiwe.names import one_line


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("check", help="can I log in, what can the server do, what may I see")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    credentials = load_credentials()
    with BeiweClient(credentials) as client:
        client.check_credentials()
        print(f"Server      {credentials.url}: the keys are accepted.")
        missing = client.capabilities().missing
        print(f"Endpoints   {'all are there' if not missing else 'missing: ' + ', '.join(missing)}")
        studies = client.studies()
        print(f"Studies     {len(studies)}")
        for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
            print(f"  {study_id}  {len(client.participants(study_id)):5d} participants  {one_line(name)}")
    if not os.environ.get("BEIWE_LAKE"):
        print("Lake        BEIWE_LAKE is not set")
        return 0
    return _check_lake(studies, {name: credentials.study_passphrase(name) for name in studies.values()})


def _check_lake(studies: dict[str, str], secrets: dict[str, str | None]) -> int:
    storage = open_lake().storage
    probe = ".dagster-beiwe-check"
    storage.write(probe, b"")
    storage.delete(probe)
    print(f"Lake        {storage.describe()}: can be written")
    status = 0
    for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
        passphrase = secrets[name] or os.environ.get("BEIWE_LAKE_PASSPHRASE") or None
        try:
            open_authenticator(storage, study_id, passphrase, create=False)
        except BeiweError as error:
            status = 1
            print(f"  {study_id}  {one_line(str(error))}")
        else:
            print(f"  {study_id}  {'passphrase accepted' if passphrase else 'no passphrase'}")
    return status
