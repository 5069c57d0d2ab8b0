"""Scopes: one value for each function, class, module, package or session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stubs import MailServer


@pytest.fixture
def of_function() -> Iterator[str]:
    yield "function"


@pytest.fixture(scope="class")
def of_class() -> Iterator[list[str]]:
    yield []


@pytest.fixture(scope="module")
def of_module() -> Iterator[list[str]]:
    yield []


@pytest.fixture(scope="session")
def of_session() -> Iterator[list[str]]:
    yield []


def test_module_scope_at_one_test(mail_server: MailServer) -> None:
    assert mail_server.is_running


def test_module_scope_at_another_test(mail_server: MailServer) -> None:
    assert mail_server.host == "mail.example.com"


class TestFirst:
    def test_class_scope_at_one_test(self, of_class: list[str]) -> None:
        assert isinstance(of_class, list)

    def test_class_scope_at_another_test(self, of_class: list[str]) -> None:
        assert isinstance(of_class, list)


class TestSecond:
    def test_another_class_has_its_own(self, of_class: list[str]) -> None:
        assert isinstance(of_class, list)


class TestAllScopes:
    def test_wider_scopes_are_set_up_first(
        self, of_function: str, of_class: list[str], of_module: list[str], of_session: list[str]
    ) -> None:
        assert of_function == "function"

    def test_only_the_function_scope_is_new(
        self, of_session: list[str], of_module: list[str], of_class: list[str], of_function: str
    ) -> None:
        assert of_function == "function"


def test_a_computed_scope_that_is_session(shared_container: str) -> None:
    assert shared_container == "shared"


def test_a_computed_scope_that_is_session_again(shared_container: str) -> None:
    assert shared_container == "shared"


def test_a_computed_scope_that_is_function(own_container: str) -> None:
    assert own_container == "own"


@pytest.mark.xdist_group("mail")
def test_in_a_group_of_xdist(mail_server: MailServer) -> None:
    assert mail_server.is_running


@pytest.mark.xdist_group("mail")
def test_in_the_same_group_of_xdist(mail_server: MailServer, of_session: list[str]) -> None:
    assert mail_server.is_running
