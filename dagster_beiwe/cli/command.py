"""What all commands have in common: ``-v`` and ``-q`` anywhere on the line, and help that ends with examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from dagster_beiwe.cli.messages import MANNER, start_log


def _set(context: click.Context, option: click.Parameter, given: bool) -> None:  # noqa: ARG001 - the signature of click
    if given:
        setattr(MANNER, str(option.name), True)


_COMMON = [
    click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set, help="Log each step."),
    click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set, help="Show no progress."),
]


class Command(click.Command):
    """One command. ``examples`` are calls of it, without the program's name."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = examples

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return with_common(super().get_params(ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for each in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{ctx.find_root().info_name} {each}\n")
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        start_log()
        return super().invoke(ctx)


class Group(click.Group):
    """A command of several actions."""

    command_class = Command

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return with_common(super().get_params(ctx))


def with_common(params: list[click.Parameter]) -> list[click.Parameter]:
    """The parameters, with the options of all commands before ``--help``."""
    return [*params[:-1], *_COMMON, *params[-1:]]
