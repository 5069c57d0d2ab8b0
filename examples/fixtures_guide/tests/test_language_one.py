"""A session's param: tests of this module and of the other one are grouped by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def dictionary(language: str) -> Iterator[dict[str, str]]:
    yield {"language": language}


@pytest.fixture(scope="module")
def reader() -> Iterator[str]:
    """Does not depend on the language, yet is set up again where pytest comes back to this module."""
    yield "reader"


def test_greeting_in_module_one(language: str, reader: str) -> None:
    assert language in ("en", "pt-BR")


def test_dictionary_in_module_one(dictionary: dict[str, str], reader: str) -> None:
    assert dictionary["language"] in ("en", "pt-BR")
