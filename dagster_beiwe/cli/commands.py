"""The commands by name. Only the module of the command that is called is imported."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from importlib.metadata import version

import click
from click.shell_completion import CompletionItem, shell_complete

from dagster_beiwe.cli.command import Group
from dagster_beiwe.cli.project_environment import project_environment
from dagster_beiwe.errors import ConfigurationError

PURPOSES = {
    "Begin": {
        "demo": "Try everything on a simulated server with synthetic studies",
        "init": "Make a new project, with an encrypted lake for a study",
        "check": "Test the login, the server, your studies and the lake",
        "keyring": "Create, change or list the encrypted keyring file",
        "adopt": "Take over what mano, lochness or a script has downloaded",
    },
    "See what the lake holds": {
        "status": "Show who sends data and who stopped",
        "show": "Print a table of the lake, or export it",
        "sql": "Query the tables of a study with SQL",
        "report": "Write who sends what as one HTML page",
        "history": "List what happened to a study, record by record",
    },
    "Work with the data": {
        "export": "Decrypt a selection into plain files",
        "forest": "Make the Python environment that Forest's analyses run in",
        "snapshot": "Keep a past state of a study, and cite it in a paper",
    },
    "Care for the lake": {
        "verify": "Prove that the lake is what was committed",
        "purge": "Remove a participant, or a whole study, from the lake",
        "rekey": "Copy the lake to another place under a new passphrase",
        "partitions": "Remove a mistyped participant from Dagster's partitions",
        "runs": "Find runs in Dagster whose process is gone, and end them",
    },
}
"""The first sentence of each command's help by purpose, as ``dagster-beiwe`` alone lists them."""

COMMANDS = {name: sentence for group in PURPOSES.values() for name, sentence in group.items()}

_COMPLETION = "_DAGSTER_BEIWE_COMPLETE"
"""The variable with which shells ask for completion, named by click."""


class UsageError(ConfigurationError):
    """The command line was called with a wrong command, option or value."""


class _Commands(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature of click
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"dagster_beiwe.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        for purpose, commands in PURPOSES.items():
            with formatter.section(purpose):
                formatter.write_dl([(f"{name:{max(map(len, COMMANDS))}}", text) for name, text in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(f"`{ctx.info_name} COMMAND --help` explains a command, with examples.")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], COMMANDS, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without importing the commands."""
        items = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, ctx, incomplete)


def _print_version(ctx: click.Context, option: click.Parameter, given: bool) -> None:  # noqa: ARG001 - the same
    if given and not ctx.resilient_parsing:
        click.echo(
            f"dagster-beiwe {version('dagster-beiwe')} (Dagster {version('dagster')}, Python "
            f"{platform.python_version()}, {platform.system()} {platform.machine()})"
        )
        ctx.exit()


@click.command("dagster-beiwe", cls=_Commands, invoke_without_command=True, no_args_is_help=False)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, and those of Dagster and Python.",
)
@click.pass_context
def group(ctx: click.Context) -> int:
    """Encrypted data lakes of Beiwe studies, run by Dagster."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return 0
    from dagster_beiwe.encryption.core_dumps import forbid_core_dumps

    forbid_core_dumps()
    return 0


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Raises ``UsageError`` for a call that is wrong."""
    if instruction := os.environ.get(_COMPLETION):
        try:
            with project_environment():
                return shell_complete(group, {}, "dagster-beiwe", _COMPLETION, instruction)
        except ConfigurationError:  # would stand in the line that somebody types; the command itself says it
            return 1
    informs = not arguments or arguments[-1] in ("--help", "--version")  # also where the file would be refused
    environment = nullcontext() if informs else project_environment()
    try:
        with environment, group.make_context("dagster-beiwe", list(arguments)) as context:
            return int(group.invoke(context))
    except click.exceptions.Exit as done:  # of --help and --version
        return done.exit_code
    except click.UsageError as error:
        called = error.ctx.command_path if error.ctx else "dagster-beiwe"
        raise UsageError(f"{error.format_message()} Run `{called} --help` for help.") from None
