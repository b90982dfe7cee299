"""The command line: ``dagster-beiwe demo``, ``check``, ``keyring``, ``verify``, ``export``, ``purge``.

Exit status: 0 when all is well, 1 when something was found or failed, 2 when the call or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from dagster_beiwe.cli import check, demo, export, keyring, purge, verify
from dagster_beiwe.encryption.core_dumps import forbid_core_dumps
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.names import one_line

COMMANDS = (demo, check, keyring, verify, export, purge)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each module adds its own."""
    parser = argparse.ArgumentParser(
        prog="dagster-beiwe", description="Encrypted data lakes of Beiwe studies, run by Dagster."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, without core dumps; errors become one message and an exit status."""
    forbid_core_dumps()
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    try:
        return int(options.run(options))
    except BeiweError as error:
        print(one_line(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        print("Interrupted; what was committed stays.", file=sys.stderr)
        return 130
