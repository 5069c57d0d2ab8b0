"""One act, several asserts: each test of a class looks at the page that was opened once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stubs import Driver


@pytest.fixture(scope="class")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.quit()


@pytest.fixture(scope="class")
def landing_page(driver: Driver) -> Driver:
    driver.get("/login")
    return driver


@pytest.fixture(scope="class", autouse=True)
def signed_in(landing_page: Driver) -> None:
    landing_page.sign_in("Ada")


class TestLandingPage:
    def test_url(self, landing_page: Driver) -> None:
        assert landing_page.url == "/home"

    def test_header_is_wrong_on_purpose(self, landing_page: Driver) -> None:
        assert landing_page.header == "Welcome, Bob!", "somebody else is signed in"

    def test_sign_out_button(self, landing_page: Driver) -> None:
        assert landing_page.buttons == ["sign out"]

    def test_profile_link_raises_on_purpose(self, landing_page: Driver) -> None:
        raise LookupError("no profile link")
