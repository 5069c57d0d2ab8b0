"""The command ``famacase-xdist``: the group of its subcommands."""

from __future__ import annotations

import importlib

import click

from famacase_xdist import __version__

#: What ``--help`` says of each subcommand: the first sentence of the subcommand's own help.
COMMANDS = {
    "doctor": "Say whether reporting would work in this directory, and what prevents it.",
    "resend": "Deliver the results that earlier sessions could not.",
    "run": "Create, show and complete a run that several jobs report to.",
    "serve": "Run a server with the reporter API and pages that show the runs.",
}


class _LazyGroup(click.Group):
    """A group of stand-ins; a subcommand is imported in place of its stand-in when it is called.

    The subcommand is the function of the same name in the module of the same name. ``--help`` needs only the
    stand-ins, because the subcommands import requests, pytest and rich, which take time to load.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, getattr(importlib.import_module(f".{name}", __package__), name), rest


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="famacase-xdist")
def main() -> None:
    """Report pytest results to Famacase."""


for _name, _help in COMMANDS.items():
    main.add_command(click.Command(_name, help=_help))
