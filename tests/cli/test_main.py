"""The command ``famacase-xdist`` itself: what it lists, and how it finds a subcommand."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from famacase_xdist.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_subcommand_what_its_own_help_begins_with(name: str) -> None:
    _, command, rest = main.resolve_command(click.Context(main), [name, "--help"])

    assert command is not None
    assert command.name == name
    assert (command.help or "").startswith(COMMANDS[name])
    assert rest == ["--help"]


def test_all_subcommands_are_listed() -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=120).output.partition("Commands:\n")[2]

    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)


def test_a_subcommand_that_is_not_there_is_named() -> None:
    ran = CliRunner().invoke(main, ["sevre"])

    assert ran.exit_code == 2
    assert "No such command 'sevre'" in ran.output
