"""The commands by name. Only the module of the command that is called is imported."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence

import click

from dagster_beiwe.errors import ConfigurationError

COMMANDS = {
    "demo": "Try everything on a simulated server with synthetic studies",
    "check": "Test the login, the server, your studies and the lake",
    "keyring": "Create, change or list the encrypted keyring file",
    "status": "Show who sends data and who stopped",
    "show": "Print a table of the lake, or export it",
    "sql": "Query the tables of a study with SQL",
    "history": "List what happened to a study, record by record",
    "snapshot": "Keep a past state of a study, and cite it in a paper",
    "verify": "Prove that the lake is what was committed",
    "adopt": "Take over what mano, lochness or a script has downloaded",
    "report": "Write who sends what as one HTML page",
    "export": "Decrypt a selection into plain files",
    "forest": "Make the Python environment that Forest's analyses run in",
    "partitions": "Remove a mistyped participant from Dagster's partitions",
    "purge": "Remove a participant, or a whole study, from the lake",
    "rekey": "Copy the lake to another place under a new passphrase",
    "runs": "Find runs in Dagster whose process is gone, and end them",
}
"""The first sentence of each command's help, which ``dagster-beiwe --help`` lists."""


class UsageError(ConfigurationError):
    """The command line was called with a wrong command, option or value."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature of click
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"dagster_beiwe.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command("dagster-beiwe", cls=_Commands, no_args_is_help=False)
@click.option("-v", "--verbose", is_flag=True, help="Log each step.")
def group(*, verbose: bool) -> None:
    """Encrypted data lakes of Beiwe studies, run by Dagster."""
    from dagster_beiwe.encryption.core_dumps import forbid_core_dumps

    forbid_core_dumps()
    _log_from(logging.INFO if verbose else logging.WARNING)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Raises ``UsageError`` for a call that is wrong."""
    try:
        with group.make_context("dagster-beiwe", list(arguments)) as context:
            return int(group.invoke(context))
    except click.exceptions.Exit as done:  # of --help
        return done.exit_code
    except click.UsageError as error:
        called = error.ctx.command_path if error.ctx else "dagster-beiwe"
        raise UsageError(f"{error.format_message()} Run `{called} --help` for help.") from None


def _log_from(level: int) -> None:
    """Show what is logged from a level on, even while a run in this process gives its own log more."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
