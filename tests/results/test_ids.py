"""Ids: unlike each other whatever a test does to `uuid` and `random`, and nothing that they take from a test."""

from __future__ import annotations

import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from harness.forking import status_in_child
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.results.ids import id_in, new_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    for text in (new_id() for _ in range(1000)):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)


def test_ids_of_many_threads_differ() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = [text for ids in pool.map(lambda _: [new_id() for _ in range(2000)], range(8)) for text in ids]

    assert len(set(ids)) == len(ids) == 16_000


def test_what_a_test_patches_is_neither_used_nor_called() -> None:
    names = (
        "uuid.uuid4",
        "uuid.uuid5",
        "uuid.UUID",
        "os.urandom",
        "random.Random",
        "random.getrandbits",
        "hashlib.sha1",
    )
    patches = [mock.patch(name, side_effect=AssertionError) for name in names]
    with mock.patch("random.Random.getrandbits", return_value=0, create=True):
        mocks = [patch.start() for patch in patches]
        try:
            ids = [new_id(), new_id(), id_in("DEMO", new_id()), id_in("DEMO", new_id())]
        finally:
            mock.patch.stopall()

    assert len(set(ids)) == 4
    assert not any(each.called for each in mocks)


def test_a_seed_of_the_tests_repeats_no_id() -> None:
    before = random.getstate()
    try:
        ids = []
        for _ in range(2):
            random.seed(1)
            ids.append(new_id())
    finally:
        random.setstate(before)

    assert ids[0] != ids[1]


def test_an_id_is_none_of_the_tests_random_numbers() -> None:
    before = random.getstate()

    new_id()

    assert random.getstate() == before


@pytest.mark.process
def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    reader, writer = os.pipe()

    assert status_in_child(lambda: os.write(writer, new_id().encode())) == 0

    with open(reader, encoding="ascii") as file:
        os.close(writer)
        assert file.read() not in [new_id() for _ in range(10)]


@given(st.uuids(), st.text(st.characters(codec="utf-8")))
def test_an_id_in_a_project_is_the_uuid_of_version_5(result_id: uuid.UUID, project: str) -> None:
    assert id_in(project, str(result_id)) == str(uuid.uuid5(result_id, project))
