"""Keep the token out of everything that tests print, attach or raise, before any of it is written to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .frames import AnyFrame, ContentHead, Frame, Head, PieceHead
from .text import Encoder

_encode, _encode_ascii = (Encoder(ensure_ascii=is_ascii).encode for is_ascii in (False, True))


class Mask:
    """Replaces secrets by as many asterisks, so that lengths stay right and digests need not be made again.

    The pieces of an attachment come in order. The end of each piece is held back until the next frame of the
    attachment, because a secret may lie across the border of two pieces. Secrets of three characters or fewer stay.
    """

    def __init__(self, *secrets: str) -> None:
        forms = dict.fromkeys(form for secret in secrets for form in _forms(secret))
        # The longest form comes first, because one form may be a part of another.
        self._forms = sorted((form for form in forms if len(form) > 3), key=len, reverse=True)
        self._needles = [form.encode() for form in self._forms]
        # An encoded frame has these forms too, because JSON escapes each text of its head once more.
        self._traces = {form.encode() for each in self._forms for form in _forms(each)}
        self._overlap = max(map(len, self._needles), default=1) - 1
        self._held: dict[str, tuple[int, bytes]] = {}

    def __repr__(self) -> str:
        return "Mask(...)"

    def clean(self, frame: AnyFrame) -> Iterable[AnyFrame]:
        """Return the frames that take the place of one; the caller has to read them before the next call."""
        head = frame.head
        if not self._needles:
            return (frame,)
        if isinstance(head, PieceHead):
            return self._shifted(head, frame.body)
        if any(trace in frame.encoded for trace in self._traces):
            frame = Frame(self._head(head), self._bytes(frame.body))
        return (*self._rest(head.digest), frame) if isinstance(head, ContentHead) else (frame,)

    def _shifted(self, head: PieceHead, body: bytes) -> Iterator[AnyFrame]:
        """Yield the piece: the bytes that were held back come first, and its own end is held back.

        Two workers may send the same content at the same time; each piece counts once.
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
        make: Callable[..., Head] = type(head)
        values = {name: getattr(head, name) for name in head.__slots__}
        return make(**{name: self.text(value) if isinstance(value, str) else value for name, value in values.items()})

    def text(self, text: str) -> str:
        """Return a text with the secrets replaced."""
        for form in self._forms:
            text = text.replace(form, "*" * len(form))
        return text


def _forms(secret: str) -> tuple[str, ...]:
    return secret, _encode_ascii(secret)[1:-1], _encode(secret)[1:-1]
