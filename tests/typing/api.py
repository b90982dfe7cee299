"""The public API as a user writes it. mypy checks it; ``test_api.py`` runs it where that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timezone
from pathlib import Path

import dagster as dg
import pandas as pd
from typing_extensions import assert_type

from dagster_beiwe import (
    Automation,
    BeiweClient,
    BeiweComponent,
    BeiweError,
    BeiweLake,
    BeiwePartitions,
    BeiweResource,
    BeiweTranslator,
    BeiweTranslatorData,
    EncryptedLakeIOManager,
    EncryptedTableIOManager,
    EnvCredentials,
    KeyringCredentials,
    ManoTree,
    Notices,
    Study,
    StudyConfig,
    TablePartitions,
    build_beiwe_definitions,
    build_study_assets,
    credentials_from_env,
    on_new_content,
    raw_data_partitions,
)
from dagster_beiwe.checks import build_study_checks
from dagster_beiwe.errors import ConfigurationError, WrongPassphraseError
from dagster_beiwe.windows import Window

MARCH = Window(datetime(2024, 3, 1, tzinfo=timezone.utc), datetime(2024, 4, 1, tzinfo=timezone.utc))
SLEEP = StudyConfig(
    "5a1b2c3d4e5f6a7b8c9d0e1f",
    key="sleep",
    start=date(2024, 3, 1),
    window="daily",
    plain_streams=["power_state"],
    compression="none",
)


def fixes_per_day(study: Study) -> Sequence[dg.AssetsDefinition]:
    """A lab's own asset for each study."""

    def fixes(raw_data: BeiwePartitions) -> pd.DataFrame:
        return assert_type(raw_data.read("gps", columns=["UTC time"]), pd.DataFrame)

    return [
        dg.asset(
            key=["beiwe", study.key, "fixes_per_day"],
            metadata=study.to_metadata(),
            partitions_def=assert_type(raw_data_partitions(study), dg.MultiPartitionsDefinition),
            automation_condition=on_new_content(),
            ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))},
        )(fixes)
    ]


class Translator(BeiweTranslator):
    """A lab's own look of the assets."""

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        spec = assert_type(super().get_asset_spec(data), dg.AssetSpec)
        owner = "team:all" if assert_type(data.study, Study | None) is None else f"team:{data.name}"
        return spec.replace_attributes(owners=[owner])


def project() -> dg.Definitions:
    """A project whose studies are configured."""
    deployments = {
        "beiwe": BeiweResource(credentials=EnvCredentials()),
        "other": BeiweResource(credentials=KeyringCredentials(section="other")),
    }
    studies = [SLEEP, StudyConfig("Étude", deployment="other")]
    return build_beiwe_definitions(
        studies,
        deployments=deployments,
        per_study=fixes_per_day,
        automation=Automation(running=True, refresh_cron="0 3 * * *"),
        notices=[Notices(email_to=("a@b.org",), email_from="c@b.org", smtp_host="b.org", smtp_security="tls")],
        translator=Translator(),
        default_io_manager=True,
    )


def project_by_hand() -> dg.Definitions:
    """A project that assembles its definitions itself."""
    beiwe = BeiweResource(credentials=EnvCredentials())
    return dg.Definitions(
        assets=build_study_assets(SLEEP),
        asset_checks=[build_study_checks(SLEEP)],
        resources={
            "beiwe": beiwe,
            "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe),
            "beiwe_table_io_manager": EncryptedTableIOManager(beiwe=beiwe),
        },
    )


def component() -> type[dg.Component]:
    """What a project in YAML names: ``type: dagster_beiwe.BeiweComponent``."""
    return BeiweComponent


def participants() -> list[str]:
    """A script that asks the server."""
    with BeiweClient(credentials_from_env()) as client:
        study = client.find_study("Sleep and Mood")
        return assert_type(client.participants(assert_type(study.id, str)), list[str])


def fixes(folder: Path, study_id: str, passphrase: str) -> pd.DataFrame:
    """A script or a notebook that reads a lake."""
    try:
        lake = BeiweLake(folder).study(study_id, passphrase=passphrase)
        march = BeiwePartitions.of(lake, participants=["abcd1234"], start=MARCH.start, end=MARCH.end)
    except WrongPassphraseError as error:
        raise SystemExit("Set another passphrase.") from error
    for key, window in march.items():
        assert_type(key, str)
        assert_type(window.complete, bool)
    return march.read("gps")


def reason(folder: Path, study_id: str) -> str:
    """A script that catches what this package raises."""
    try:
        BeiwePartitions.of(BeiweLake(folder).study(study_id, passphrase="secret"), as_of="paper-1")
    except ConfigurationError as error:
        return str(assert_type(error, ConfigurationError))
    except BeiweError:
        return "another error"
    return "none"


def mano(folder: Path) -> list[str]:
    """A folder that mano wrote."""
    return assert_type(ManoTree(folder, passphrase="secret").participants, list[str])


def table_by_column() -> pd.DataFrame:
    table = TablePartitions.of(
        BeiweLake("lake").study("5a1b2c3d4e5f6a7b8c9d0e1f", passphrase="secret"), "gps", columns=["latitude"]
    )
    missing: tuple[str, ...] = table.missing
    assert not missing
    return table.to_pandas()
