"""Texts: any value has one, and any text has its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from unittest import mock

import pytest

from famacase_xdist.results.text import Encoder, from_json, text_of, to_json


@pytest.mark.parametrize("value", [2**64, -(2**200), 10**4000], ids=["2**64", "-2**200", "10**4000"])
def test_a_huge_int_keeps_every_digit(value: int) -> None:
    assert json.loads(to_json(value)) == value


@pytest.mark.parametrize("text", ["\ud800", "\ud800x", "x\udc00", '\ud800"', "\udc00\ud800"], ids=ascii)
def test_a_lone_surrogate_becomes_a_replacement_character(text: str) -> None:
    assert json.loads(to_json(text)) == re.sub("[\ud800-\udfff]", "\ufffd", text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"value": value})


def test_text_travels_as_utf_8_and_not_as_escapes() -> None:
    assert to_json("\N{SNOWMAN}") == '"\N{SNOWMAN}"'.encode()


#: What tests patch of `json`, and what its functions call.
PATCHED = (
    *("dumps", "loads", "JSONEncoder.encode", "JSONEncoder.iterencode", "JSONEncoder.default"),
    *("JSONDecoder.decode", "JSONDecoder.raw_decode", "JSONEncoder", "JSONDecoder"),
)


@pytest.fixture(params=PATCHED)
def patched(request: pytest.FixtureRequest) -> Iterator[mock.Mock]:
    with mock.patch(f"json.{request.param}", side_effect=AssertionError) as patched:
        yield patched


def test_json_that_a_test_patches_is_neither_used_nor_called(patched: mock.Mock) -> None:
    value = {"text": "\N{SNOWMAN}", "list": [1, 2.5, None, True]}

    assert from_json(to_json(value)) == value
    assert from_json(Encoder(indent=4, default=str).encode({"set": {1}})) == {"set": "{1}"}
    assert not patched.called


@pytest.mark.parametrize("text", ["", b"", "{", b"\xff", "[1] 2"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __len__(self) -> int:
        raise RuntimeError("no length")


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _NoString:
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class _PrintsAsSubclass:
    def __str__(self) -> str:
        return _Text("printed")


class _LiesAboutItsClass:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("no class")

    def __str__(self) -> str:
        return "printed"


class _SaysItIsStr:
    """Behaves as `Mock(spec=str)`."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return str

    def __str__(self) -> str:
        return "printed"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (_Text("inner"), "inner"),
        (None, "None"),
        (1.5, "1.5"),
        (b"\xff", r"b'\xff'"),
        (_Unprintable(), "<_Unprintable that cannot be printed>"),
        (_NoString(), "<_NoString that cannot be printed>"),
        (_PrintsAsSubclass(), "printed"),
        (_LiesAboutItsClass(), "printed"),
        (_SaysItIsStr(), "printed"),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_any_value_has_a_text_that_is_exactly_a_str(value: object, text: str) -> None:
    given_text = text_of(value)

    assert type(given_text) is str
    assert given_text == text


def test_a_text_that_is_too_long_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("famacase_xdist.results.text.MAX_TEXT", 10)

    assert text_of("0123456789abc") == "0123456789\n[cut: 3 more characters]"


def test_a_text_of_just_the_allowed_length_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("famacase_xdist.results.text.MAX_TEXT", 10)

    assert text_of("0123456789") == "0123456789"
