"""Data for fixtures: from the module, from markers. None of it is a param."""

from __future__ import annotations

import pytest
from stubs import MailServer

host = "mail.python.example"


@pytest.fixture(scope="module")
def server_of_module(request: pytest.FixtureRequest) -> MailServer:
    return MailServer(getattr(request.module, "host", "localhost"))


@pytest.fixture
def fixt(request: pytest.FixtureRequest) -> object:
    marker = request.node.get_closest_marker("fixt_data")
    return marker.args[0] if marker else None


def test_a_fixture_reads_the_module(server_of_module: MailServer) -> None:
    assert server_of_module.host == "mail.python.example"


@pytest.mark.fixt_data(42)
def test_a_marker_passes_data(fixt: object) -> None:
    assert fixt == 42


def test_no_marker_passes_data(fixt: object) -> None:
    assert fixt is None


@pytest.mark.user("ada")
@pytest.mark.parametrize("number", [1])
def test_only_the_param_is_a_param(number: int, fixt: object) -> None:
    assert number == 1


@pytest.mark.parametrize("doubled", [3], indirect=True)
def test_a_test_passes_a_param_to_a_fixture(doubled: int) -> None:
    assert doubled == 6


@pytest.fixture
def doubled(request: pytest.FixtureRequest) -> int:
    return 2 * request.param
