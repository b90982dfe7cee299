"""``dagster-beiwe init``: from an empty folder to a project that starts, with nothing secret in it."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import click

from dagster_beiwe.cli.check import check_passphrase, check_place
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import ask_twice
from dagster_beiwe.cli.init_secrets import Answers, Keeper, keeper_in
from dagster_beiwe.cli.new_project import INSTALL, LAKE, NewProject, is_project, write_project
from dagster_beiwe.cli.options import json_option
from dagster_beiwe.cli.output import Diagnosis, print_json
from dagster_beiwe.cli.project_environment import exported_otherwise
from dagster_beiwe.cli.server_check import check_studies
from dagster_beiwe.client import BeiweClient, StudyListing
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.credentials import Credentials, Secret, Source
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
)
from dagster_beiwe.errors import BeiweError, ConfigurationError, RouteMissingError
from dagster_beiwe.opening import lake_at, user_path
from dagster_beiwe.private_files import keep_private, make_folder
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.discovery import first_data_day
from dagster_beiwe.text import as_typed, listed, one_line

_OF_DG = ("dagster_dg_cli", "dagster_webserver")
"""What ``dg dev`` imports."""
_GENERATED_BYTES = 24
"""192 bits: as good as the key that is derived from it."""


@click.command(
    cls=Command,
    examples=[
        "init sleep-lab",
        "init sleep-lab --url https://studies.example.org --study Sleep --generate-passphrase --secrets keychain",
        "init sleep-lab --url https://studies.example.org --study Sleep --stdin < secrets.json",
    ],
)
@click.argument("folder", type=user_path, metavar="FOLDER")
@click.option("--url", metavar="URL", help=f"Address of the Beiwe server. Default: {BEIWE_URL}.")
@click.option("--study", metavar="STUDY", help="Id, beginning of an id, or name of the first study.")
@click.option("--start", metavar="DATE", help="First day of the study's data. Default: the server is asked.")
@click.option("--lake", metavar="PLACE", help=f"Folder or URL of the lake. Default: {BEIWE_LAKE}, or FOLDER/{LAKE}.")
@click.option(
    "--secrets",
    "place",
    type=click.Choice(["keyring", "keychain", "elsewhere"]),
    default="keyring",
    help="Keep the secrets in an encrypted keyring file (default) or the system's keychain, or leave them where they "
    "are: in variables or files.",
)
@click.option("--generate-passphrase", "generate", is_flag=True, help="Make a strong passphrase for the study's data.")
@click.option("--stdin", "piped", is_flag=True, help="Read secrets as a JSON object, {NAME: SECRET}, from input.")
@json_option
def command(
    *,
    folder: Path,
    url: str | None,
    study: str | None,
    start: str | None,
    lake: str | None,
    place: str,
    generate: bool,
    piped: bool,
    as_json: bool,
) -> int:
    """Make a new project, with an encrypted lake for a study.

    In a terminal, the command asks for what is missing. It logs in and requests data, as `check` does, before it
    writes anything. Secrets are never options: they are typed without echo, or come from standard input, or from the
    variables, files, or keychain that docs/credentials.md lists. A project that is there stays as it is.
    """
    keep_private()
    folder = folder.absolute()
    if is_project(folder):
        return _tell_it_is_there(folder, as_json=as_json)
    if piped and place == "elsewhere":
        raise click.UsageError("Secrets from standard input have to be kept: choose another --secrets.")
    answers = Answers(os.environ, piped=piped, asks=place != "elsewhere" and not as_json)
    url = url or answers.known(BEIWE_URL)
    keeper = keeper_in(place, folder, url, answers)
    credentials = keeper.credentials() or _ask_credentials(url, answers, keeper, generate=generate)
    report = _Report(quiet=as_json)
    with BeiweClient(credentials) as client:
        chosen = _choose(client, study, report, answers)
        first_day = _first_day(client, chosen.id, start, answers)
    lake = _absolute(lake or _ask_lake(folder, answers))
    passphrase, generated = _passphrase(credentials, chosen, answers, generate=generate)
    report.add(_check_lake(lake, chosen, Secret(passphrase, Source("project", folder.name))))
    variables = {**keeper.variables(credentials), BEIWE_LAKE: lake}
    project = NewProject(study=chosen, start=first_day, variables=variables, advice=keeper.advice())
    make_folder(folder)
    keeper.keep(credentials, chosen.id, passphrase)
    written, kept = write_project(project, folder)
    if as_json:
        _print_facts(folder, project, written, kept, secrets=place, passphrase_generated=generated)
    else:
        _tell(project, folder, kept, passphrase if generated else None)
    return 0


class _Report:
    """Shows each check as it ends. Raises ``BeiweError`` for the first that failed: nothing is written then."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def add(self, diagnoses: Iterable[Diagnosis]) -> None:
        for each in diagnoses:
            if not each.passed:
                raise BeiweError(f"{one_line(each.text).strip()} Nothing was written. Correct this, and run it again.")
            if not self._quiet:
                print(each.text, flush=True)


def _ask_credentials(url: str | None, answers: Answers, keeper: Keeper, *, generate: bool) -> Credentials:
    names = dict.fromkeys((BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY, *keeper.needs()))
    answers.require({"--url": url}, *names, *([] if generate else [BEIWE_LAKE_PASSPHRASE]))
    url = url or input("Address of the Beiwe server (https://...): ")
    access_key = answers.secret(BEIWE_ACCESS_KEY)
    return Credentials(url=url, access_key=access_key, secret_key=answers.secret(BEIWE_SECRET_KEY))


def _choose(client: BeiweClient, wanted: str | None, report: _Report, answers: Answers) -> StudyListing:
    """The study, which the server was asked to send data of."""
    client.check_credentials()
    report.add([Diagnosis(subject="server", text=f"Server      {client.server}: the keys are accepted.")])
    studies = client.studies()
    if wanted is None and len(studies) > 1:
        wanted = _ask_study(studies, answers)
    chosen = find_study(studies, wanted) if wanted else StudyListing(*next(iter(studies.items()), ("", "")))
    report.add(check_studies(client, {chosen.id: chosen.name} if studies else {}))
    return chosen


def _ask_study(studies: Mapping[str, str], answers: Answers) -> str:
    by_name = sorted(studies.items(), key=lambda item: item[1])
    if not answers.interactive:
        names = listed([f"{one_line(name)} ({study_id})" for study_id, name in by_name], most=20)
        raise ConfigurationError(f"The keys see several studies. Nothing was written. Add --study: {names}.")
    for number, (study_id, name) in enumerate(by_name, start=1):
        print(f"  {number:3d}  {study_id}  {one_line(name)}")
    answer = input("Which study is the first (number, id, or name)? ").strip()
    chosen = int(answer) - 1 if answer.isdecimal() and 0 < int(answer) <= len(by_name) else None
    return answer if chosen is None else by_name[chosen][0]


def _first_day(client: BeiweClient, study_id: str, start: str | None, answers: Answers) -> date:
    """The first day of the study's windows, which never moves."""
    if start is None:
        try:
            return first_data_day(client, study_id, today=datetime.now(timezone.utc).date())
        except RouteMissingError:
            answers.require({"--start": None})
            start = input("The server does not say when the study began. First day of its data (2024-03-01): ")
    day = StudyConfig(study_id, start=start).start
    assert day is not None
    return day


def _ask_lake(folder: Path, answers: Answers) -> str:
    default = os.environ.get(BEIWE_LAKE) or str(folder / LAKE)
    asked = input(f"Folder or URL of the lake [{default}]: ").strip() if answers.interactive else ""
    return asked or default


def _absolute(place: str) -> str:
    """The lake wherever its project is used."""
    return place if "://" in place else str(user_path(place).absolute())


def _passphrase(credentials: Credentials, study: StudyListing, answers: Answers, *, generate: bool) -> tuple[str, bool]:
    """The passphrase of the study's data, and whether it was generated. One that is known is never replaced."""
    known = credentials.study_passphrase(study.name, study_id=study.id) or answers.known(BEIWE_LAKE_PASSPHRASE)
    if known:
        return known, False
    if not generate:
        answers.require({"--generate-passphrase": None})
        typed = ask_twice(f"New passphrase for the data of {one_line(study.name)} (empty: generate one)")
        if typed:
            return typed, False
    return secrets.token_urlsafe(_GENERATED_BYTES), True


def _check_lake(place: str, study: StudyListing, passphrase: Secret) -> Iterable[Diagnosis]:
    lake = lake_at(place)
    yield check_place(lake.storage)
    yield check_passphrase(lake, study.id, passphrase)


def _tell(project: NewProject, folder: Path, kept: list[Path], generated: str | None) -> None:
    print(
        f"\nThe project is in {as_typed(str(folder))}. The data starts on {project.start}, so the first window is the "
        f"week of Monday, {project.first_window.key} (UTC)."
    )
    if kept:
        names = ", ".join(str(path.relative_to(folder)) for path in kept)
        print(f"These files were there before and stay as they are: {as_typed(names)}.")
    if generated and sys.stdout.isatty():
        print(f"\nThe passphrase of the study's data, which is shown only once:\n\n    {generated}")
    print(f"\n{as_typed(project.advice)}\n\nNext:\n")
    lines = [f"cd {shlex.quote(as_typed(str(folder)))}", *project.next_commands]
    if exported := exported_otherwise(project.environment(folder)):
        lines.insert(1, f"unset {' '.join(exported)}  # .env sets it otherwise")
    if any(find_spec(name) is None for name in _OF_DG):
        lines.insert(1, f"{INSTALL}  # dg is not installed here")
    for line in lines:
        print(f"  {line}")


def _print_facts(
    folder: Path, project: NewProject | None, written: Iterable[Path] = (), kept: Iterable[Path] = (), **facts: object
) -> None:
    """What was made; if the project was there before, nothing is said of its study."""
    print_json(
        {
            "folder": folder,
            "written": [as_typed(str(path)) for path in written],
            "kept": [as_typed(str(path)) for path in kept],
            "study_id": project and project.study.id,
            "study": project and project.study.name,
            "start": project and project.start,
            "first_window": project and project.first_window.key,
            "lake": project and project.variables[BEIWE_LAKE],
            "secrets": None,
            "passphrase_generated": False,
            **facts,
        }
    )


def _tell_it_is_there(folder: Path, *, as_json: bool) -> int:
    if as_json:
        _print_facts(folder, None)
    else:
        print(f"{as_typed(str(folder))} is a project already. It stays as it is.")
    return 0
