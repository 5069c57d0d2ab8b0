"""Strategies for any text and any data that a test may put into a result, and the form in which they must arrive."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def without_lone_surrogates(value: Any) -> Any:
    """Return a value with lone surrogates replaced and pairs joined, by other means than the code under test uses."""
    if isinstance(value, str):
        pair_or_lone = "[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]"
        return re.sub(pair_or_lone, lambda found: _joined(found[0]), value)
    if isinstance(value, list):
        return [without_lone_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {key: without_lone_surrogates(each) for key, each in value.items()}
    return value


def _joined(found: str) -> str:
    if len(found) == 1:
        return "\N{REPLACEMENT CHARACTER}"
    high, low = map(ord, found)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
