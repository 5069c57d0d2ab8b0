"""Keeps the token out of everything that tests print, attach or raise, before any of it is written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from .frames import AnyFrame, ContentHead, Frame, Head, PieceHead


class Mask:
    """Replaces secrets by as many asterisks, so that no length and no digest has to be made again.

    The pieces of an attachment come in order; the end of each is held back until the next frame of it, because
    the secret may lie across the border. A secret of three characters or fewer is not looked for.
    """

    def __init__(self, *secrets: str) -> None:
        forms = dict.fromkeys(form for secret in secrets for form in _forms(secret))
        # The longest first: one may be a part of another.
        self._forms = sorted((form for form in forms if len(form) > 3), key=len, reverse=True)
        self._needles = [form.encode() for form in self._forms]
        # In the head of a frame each text is escaped once more.
        self._traces = {form.encode() for each in self._forms for form in _forms(each)}
        self._overlap = max(map(len, self._needles), default=1) - 1
        self._held: dict[str, tuple[int, bytes]] = {}

    def __repr__(self) -> str:
        return "Mask(...)"

    def clean(self, frame: AnyFrame) -> Iterable[AnyFrame]:
        """Give the frames to keep in the place of one."""
        head = frame.head
        if not self._needles:
            return (frame,)
        if isinstance(head, PieceHead):
            return self._shifted(head, frame.body)
        if any(trace in frame.encoded for trace in self._traces):
            frame = Frame(self._head(head), self._bytes(frame.body))
        return (*self._rest(head.digest), frame) if isinstance(head, ContentHead) else (frame,)

    def _shifted(self, head: PieceHead, body: bytes) -> Iterator[AnyFrame]:
        """Give the piece with what was held back before it, less what is held back of it.

        Two workers may send the same content side by side; each piece counts once.
        """
        number, held = self._held.get(head.digest, (0, b""))
        if head.number != number:
            return
        text = self._bytes(held + body)
        border = max(0, len(text) - self._overlap)
        self._held[head.digest] = (number + 1, text[border:])
        yield Frame(head, text[:border])

    def _rest(self, digest: str) -> Iterator[AnyFrame]:
        if digest in self._held:
            number, held = self._held.pop(digest)
            yield Frame(PieceHead(digest, number), held)

    def _bytes(self, text: bytes) -> bytes:
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, b"*" * len(needle))
        return text

    def _head(self, head: Head) -> Head:
        masked: dict[str, Any] = {
            name: self.text(value)
            for name in head.__slots__
            if isinstance(value := getattr(head, name), str) and any(form in value for form in self._forms)
        }
        return dataclasses.replace(head, **masked) if masked else head

    def text(self, text: str) -> str:
        """Give a text with the secret replaced."""
        for form in self._forms:
            text = text.replace(form, "*" * len(form))
        return text


def _forms(secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
