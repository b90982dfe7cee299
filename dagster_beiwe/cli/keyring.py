"""``dagster-beiwe keyring``: create, change and list the keyring file that mano and this package read."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

import click

from dagster_beiwe.cli.command import Group
from dagster_beiwe.cli.context import ask_twice, can_ask, read_input
from dagster_beiwe.cli.messages import say
from dagster_beiwe.cli.options import json_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.credentials import (
    DEFAULT_KEYRING_FILE,
    credentials_of_section,
    find_secret,
    read_keyring,
    write_keyring,
)
from dagster_beiwe.environment import BEIWE_KEYRING_FILE, NRG_KEYRING_PASS
from dagster_beiwe.errors import ConfigurationError, KeyringSectionError
from dagster_beiwe.ids import is_study_id
from dagster_beiwe.opening import user_path
from dagster_beiwe.text import as_typed, one_line

_FIELDS = ("URL", "ACCESS_KEY", "SECRET_KEY", "USERNAME", "PASSWORD")
_OPTIONAL = ("USERNAME", "PASSWORD")


_file_option = click.option(
    "--file",
    type=user_path,
    metavar="PATH",
    default=lambda: os.environ.get(BEIWE_KEYRING_FILE) or DEFAULT_KEYRING_FILE,
    help=f"Keyring file. Default: {BEIWE_KEYRING_FILE} or {DEFAULT_KEYRING_FILE}.",
)


@click.group(cls=Group, no_args_is_help=False)
def command() -> None:
    """Create, change or list the encrypted keyring file."""


@command.command("list", examples=["keyring list"])
@_file_option
@json_option
def _list(*, file: Path, as_json: bool) -> int:
    """List sections, servers, and studies with a passphrase. No secret is shown."""
    for name, section in sorted(read_keyring(file, prompt=True).items()):
        url, studies, problem = None, list[str](), None
        try:
            credentials = credentials_of_section(name, section)
        except KeyringSectionError as error:
            problem = one_line(str(error))
        else:
            url, studies = credentials.url, sorted(credentials.secrets)
        if as_json:
            print_json({"section": name, "url": url, "studies": studies, "error": problem})
        elif problem:
            print(one_line(f"{name}: cannot be used. {problem}"))
        else:
            print(one_line(f"{name}: {url}; studies with a passphrase: {', '.join(studies) or 'none'}"))
    return 0


@command.command("set", examples=["keyring set studies.example.org"])
@click.argument("section")
@_file_option
def _set(*, section: str, file: Path) -> int:
    """Add or replace SECTION, for instance the host name of the deployment.

    The command asks for its fields, or reads them as a JSON object from standard input.
    """
    passphrase, sections = _open(file)
    fields = _ask_fields() if can_ask() else _read_fields()
    if fields.get("SECRETS") is None:
        fields["SECRETS"] = sections.get(section, {}).get("SECRETS") or {}
    write_keyring(file, {**sections, section: fields}, passphrase, changed=[section])
    print(f"Section {section!r} was written to {as_typed(str(file))}.")
    return 0


@command.command("passphrase", examples=['keyring passphrase studies.example.org "Sleep and Mood"'])
@click.argument("section")
@click.argument("study")
@_file_option
def _passphrase(*, section: str, study: str, file: Path) -> int:
    """Set the passphrase of STUDY, its id or its exact name on the server, in SECTION.

    The command asks for the passphrase, or reads it from standard input.
    """
    passphrase, sections = _open(file)
    if section not in sections:
        raise ConfigurationError(
            f"The keyring has no section {section[:80]!r}. Nothing was changed. It has: "
            f"{', '.join(sorted(sections)) or 'none'}."
        )
    credentials = credentials_of_section(section, sections[section])
    secret = ask_twice("passphrase of the study") if can_ask() else read_input(line=True)
    fields = {**sections[section], "SECRETS": {**credentials.secrets, study: secret}}
    write_keyring(file, {**sections, section: fields}, passphrase, changed=[section])
    print(
        f"The passphrase of {study!r} was written to {as_typed(str(file))}. Data encrypted with another passphrase "
        "stays as it is."
    )
    ids = sorted(each for each in credentials.secrets if is_study_id(each))
    if ids and not is_study_id(study):
        say(
            "note",
            f"Passphrases under ids come before those under names. {section!r} has them for {', '.join(ids)}: if that "
            f"is {study!r}, set its passphrase under the id.",
        )
    return 0


def _open(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """The passphrase of the file, and its sections: none if the file does not exist yet."""
    secret = find_secret(NRG_KEYRING_PASS, os.environ)
    passphrase = secret.value if secret else ""
    if not passphrase and not can_ask():
        raise ConfigurationError(
            f"{NRG_KEYRING_PASS} is not set, and standard input is not a terminal on which to ask for the keyring's "
            "passphrase. Nothing was changed. Set it."
        )
    if path.exists():
        passphrase = passphrase or getpass.getpass("passphrase of the keyring: ")
        return passphrase, read_keyring(path, passphrase=passphrase)
    return passphrase or ask_twice("new passphrase of the keyring"), {}


def _ask_fields() -> dict[str, Any]:
    fields = {}
    for name in _FIELDS:
        secret = name not in ("URL", "USERNAME")
        prompt = f"{name}{' (may be empty)' if name in _OPTIONAL else ''}: "
        value = (getpass.getpass(prompt) if secret else input(prompt)).strip()
        if value or name not in _OPTIONAL:
            fields[name] = value
    return fields


def _read_fields() -> dict[str, Any]:
    try:
        fields = json.loads(read_input())
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ConfigurationError(
            "Standard input is not a JSON object. Nothing was changed. Pass an object with the fields "
            f"{', '.join(_FIELDS)} and SECRETS."
        )
    return fields
