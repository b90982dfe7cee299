"""``dagster-beiwe keyring``: make, change and look at the keyring file that mano and this package read."""

from __future__ import annotations

import argparse
import getpass
import json
import os
from pathlib import Path
from typing import Any

from dagster_beiwe.cli.context import ask_twice, can_ask, read_input, user_path
from dagster_beiwe.credentials import DEFAULT_KEYRING_FILE, credentials_of_section, read_keyring, write_keyring
from dagster_beiwe.errors import ConfigurationError, KeyringSectionError
from dagster_beiwe.text import as_typed, one_line

_FIELDS = ("URL", "ACCESS_KEY", "SECRET_KEY", "USERNAME", "PASSWORD")
_OPTIONAL = ("USERNAME", "PASSWORD")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("keyring", help="make, change or list the encrypted keyring file")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="sections, servers and studies with a passphrase; no secret is shown")
    listing.set_defaults(run=_list)
    setting = actions.add_parser("set", help="add or replace a section: asked for, or as JSON on standard input")
    setting.add_argument("section", type=as_typed, help="name of the section, for instance the deployment's host name")
    setting.set_defaults(run=_set)
    passphrase = actions.add_parser("passphrase", help="set the passphrase of a study: asked for, or on standard input")
    passphrase.add_argument("section", type=as_typed)
    passphrase.add_argument("study", type=as_typed, help="name of the study, exactly as on the server")
    passphrase.set_defaults(run=_passphrase)
    for each in (listing, setting, passphrase):
        each.add_argument("--file", help=f"keyring file (default: BEIWE_KEYRING_FILE or {DEFAULT_KEYRING_FILE})")


def _list(options: argparse.Namespace) -> int:
    for name, section in sorted(read_keyring(_path(options), prompt=True).items()):
        try:
            credentials = credentials_of_section(name, section)
        except KeyringSectionError as error:
            print(one_line(f"{name}: can't be used. {error}"))
        else:
            studies = ", ".join(sorted(credentials.secrets)) or "none"
            print(one_line(f"{name}: {credentials.url}; studies with a passphrase: {studies}"))
    return 0


def _set(options: argparse.Namespace) -> int:
    path, passphrase, sections = _open(options)
    old = sections.get(options.section, {})
    section = _ask_section() if can_ask() else _read_section()
    if section.get("SECRETS") is None:
        section["SECRETS"] = old.get("SECRETS") or {}
    write_keyring(path, {**sections, options.section: section}, passphrase, changed=[options.section])
    print(f"Section {options.section!r} was written to {path}.")
    return 0


def _passphrase(options: argparse.Namespace) -> int:
    path, passphrase, sections = _open(options)
    if options.section not in sections:
        raise ConfigurationError(
            f"Expected a section of the keyring, got {options.section[:80]!r}; nothing was changed. The sections are: "
            f"{', '.join(sorted(sections)) or 'none'}."
        )
    section = sections[options.section]
    credentials = credentials_of_section(options.section, section)
    secret = ask_twice("passphrase of the study") if can_ask() else read_input(line=True)
    changed = {**section, "SECRETS": {**credentials.secrets, options.study: secret}}
    write_keyring(path, {**sections, options.section: changed}, passphrase, changed=[options.section])
    print(f"The passphrase of {options.study!r} was written to {path}. Data locked with another one stays as it is.")
    return 0


def _open(options: argparse.Namespace) -> tuple[Path, str, dict[str, dict[str, Any]]]:
    """The file, its passphrase and its sections; a file that is not there yet is made."""
    path = _path(options)
    passphrase = os.environ.get("NRG_KEYRING_PASS", "")
    if not passphrase and not can_ask():
        raise ConfigurationError(
            "Expected the keyring's passphrase in NRG_KEYRING_PASS, got none, and nobody can be asked here; nothing "
            "was changed. Set it."
        )
    if path.exists():
        passphrase = passphrase or getpass.getpass("passphrase of the keyring: ")
        return path, passphrase, read_keyring(path, passphrase=passphrase)
    return path, passphrase or ask_twice("new passphrase of the keyring"), {}


def _ask_section() -> dict[str, Any]:
    section = {}
    for name in _FIELDS:
        secret = name not in ("URL", "USERNAME")
        prompt = f"{name}{' (may be empty)' if name in _OPTIONAL else ''}: "
        value = (getpass.getpass(prompt) if secret else input(prompt)).strip()
        if value or name not in _OPTIONAL:
            section[name] = value
    return section


def _read_section() -> dict[str, Any]:
    try:
        section = json.loads(read_input())
    except (ValueError, RecursionError):
        section = None
    if not isinstance(section, dict):
        raise ConfigurationError(
            "Expected the section as a JSON object on standard input, got something else; nothing was changed. Its "
            f"fields are: {', '.join(_FIELDS)}, SECRETS."
        )
    return section


def _path(options: argparse.Namespace) -> Path:
    return user_path(options.file or os.environ.get("BEIWE_KEYRING_FILE") or DEFAULT_KEYRING_FILE)
