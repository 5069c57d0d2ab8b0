"""What the other module overrides is here as the folder has it."""

from __future__ import annotations


def test_the_folders_params(parametrized_username: str) -> None:
    assert parametrized_username in ("one", "two")


def test_the_folders_plain_fixture(plain_username: str) -> None:
    assert plain_username == "plain"
