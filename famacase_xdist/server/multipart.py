"""The files of a multipart body, checked against the limits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

from .records import Limits, Upload

_MIME_TYPE = re.compile(r"[\w.+-]{1,80}/[\w.+-]{1,80}", re.ASCII)


@asynccontextmanager
async def received_files(request: Request, limits: Limits) -> AsyncIterator[Sequence[UploadFile]]:
    """Read the body into temporary files and yield them in the order of the body; they are deleted at the end.

    Raises:
        HTTPException: 413 over a limit, 422 for a part that is not a file named ``files``, 400 for bad multipart.
    """
    try:
        form = await request.form(max_files=limits.files, max_fields=limits.files)
    except StarletteHTTPException as error:
        if error.detail.startswith("Too many files"):
            raise HTTPException(413, f"at most {limits.files} files are allowed in one request") from error
        raise
    try:
        yield _checked(form, limits)
    finally:
        await form.close()


def _checked(form: FormData, limits: Limits) -> list[UploadFile]:
    files = []
    for index, (name, value) in enumerate(form.multi_items()):
        if name != "files" or not isinstance(value, UploadFile):
            raise HTTPException(422, f"part {index} ({name!r}): each part must be a file named 'files'")
        if (value.size or 0) > limits.file_bytes:
            raise HTTPException(413, f"files[{index}] is larger than {limits.file_bytes} bytes")
        files.append(value)
    if not files:
        raise HTTPException(422, "the body must be multipart with one part named 'files' for each file")
    return files


def contents(files: Iterable[UploadFile]) -> Iterable[Upload]:
    """Yield the files, each read when its turn comes. Reading blocks, so this must not run on the event loop."""
    for file in files:
        name = _encodable(file.filename or "")[:255] or "attachment"
        yield Upload(name, _mime_type(file.content_type), file.file.read())


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _mime_type(content_type: str | None) -> str:
    essence = (content_type or "").partition(";")[0].strip().lower()
    return essence if _MIME_TYPE.fullmatch(essence) else "application/octet-stream"
