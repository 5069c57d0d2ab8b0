"""Teardown: code after `yield`, and finalizers, in reverse order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from stubs import MailServer, MailUser


@pytest.fixture
def mail_admin(mail_server: MailServer) -> MailServer:
    return mail_server


@pytest.fixture
def sending_user(mail_admin: MailServer) -> Iterator[MailUser]:
    yield mail_admin.create_user("sender")
    mail_admin.delete_user("sender")


@pytest.fixture
def receiving_user(mail_admin: MailServer, request: pytest.FixtureRequest) -> MailUser:
    user = mail_admin.create_user("receiver")
    request.addfinalizer(lambda: mail_admin.delete_user("receiver"))
    return user


@pytest.fixture
def email(sending_user: MailUser, receiving_user: MailUser, request: pytest.FixtureRequest) -> str:
    """Register several finalizers: the last one runs first."""
    sending_user.send("hello", receiving_user)
    left = ["hello"]
    request.addfinalizer(receiving_user.inbox.clear)
    request.addfinalizer(lambda: left.remove("hello"))
    return "hello"


@pytest.fixture
def slow() -> Iterator[None]:
    """Take 30 ms to set up and 60 ms to tear down."""
    time.sleep(0.03)
    yield
    time.sleep(0.06)


def test_set_up_and_teardown_take_their_time(slow: None) -> None:
    assert True


def test_yield_fixture(sending_user: MailUser, mail_admin: MailServer) -> None:
    assert sending_user.name in mail_admin.users()


def test_a_wider_scope_comes_before_what_is_requested_first(slow: None, sending_user: MailUser) -> None:
    assert sending_user.name == "sender"


def test_finalizer(receiving_user: MailUser) -> None:
    assert receiving_user.inbox == []


def test_teardown_in_reverse_order(receiving_user: MailUser, email: str) -> None:
    assert receiving_user.inbox == [email]


def test_users_are_gone_after_their_test(mail_server: MailServer) -> None:
    assert mail_server.users() == []


def test_finalizer_that_the_test_adds(request: pytest.FixtureRequest, sending_user: MailUser) -> None:
    seen: list[str] = []
    request.addfinalizer(lambda: seen.append(sending_user.name))


def test_teardown_runs_after_a_failure(sending_user: MailUser) -> None:
    assert sending_user.name == "nobody", "not the one"
