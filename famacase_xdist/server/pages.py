"""The pages: plain HTML without JavaScript, which loads nothing from other servers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException as StarletteHTTPException

from famacase_xdist.results.status import STATUSES

from .records import AttachmentFile, AttachmentPayload, StepPayload, StoredResult, canonical_status
from .store import Store

RUNS_PER_PAGE = 100
RESULTS_PER_PAGE = 500
_DEEPEST_STEP = 40

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_STYLE = Path(__file__).with_name("static") / "style.css"
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f"\\/:*?<>|\u2028\u2029\u202a-\u202e\u2066-\u2069]')

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_runs(request: Request, page: int = 1) -> HTMLResponse:
    """Return the page of all runs, the newest first."""
    page = _page_number(page)
    runs = _store(request).runs(RUNS_PER_PAGE + 1, (page - 1) * RUNS_PER_PAGE)
    more = len(runs) > RUNS_PER_PAGE
    return _render("runs.html", runs=runs[:RUNS_PER_PAGE], page=page, more=more)


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: str, page: int = 1, status: str | None = None) -> HTMLResponse:
    """Return the page of one run with its results, or only those of one status."""
    store, page = _store(request), _page_number(page)
    run = store.run(_row_id(run_id))
    if run is None:
        raise HTTPException(404, f"There is no run {run_id[:40]}.")
    shown = canonical_status(status or "")
    results = store.stored_results(run.id, shown, RESULTS_PER_PAGE + 1, (page - 1) * RESULTS_PER_PAGE)
    more = len(results) > RESULTS_PER_PAGE
    results = results[:RESULTS_PER_PAGE]
    return _render("run.html", run=run, results=results, page=page, more=more, shown=shown)


@router.get("/attachments/{attachment_id}")
def download(request: Request, attachment_id: str) -> Response:
    """Return a kept file. A browser shows pictures and plain text, and saves every other type."""
    file = _store(request).attachment(attachment_id)
    if file is None:
        raise HTTPException(404, f"There is no attachment {attachment_id[:40]}.")
    headers = {
        **_HEADERS,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": _disposition(file),
    }
    return Response(file.content, media_type=file.mime_type, headers=headers)


@router.get("/style.css")
def style() -> Response:
    """Return the stylesheet of all pages."""
    return Response(_STYLE.read_bytes(), media_type="text/css", headers={"X-Content-Type-Options": "nosniff"})


async def not_found(request: Request, error: Exception) -> Response:
    """Return the answer of status 404: JSON below ``/api/``, a page elsewhere."""
    detail = error.detail if isinstance(error, StarletteHTTPException) else "Not Found"
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": detail}, 404)
    return _render("not_found.html", 404, detail=detail)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _page_number(page: int) -> int:
    return min(max(page, 1), 10**9)


def _row_id(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def _disposition(file: AttachmentFile) -> str:
    kind = "inline" if _is_inline(file.mime_type) else "attachment"
    name = _NOT_IN_NAMES.sub("_", file.file_name).strip(". ") or "attachment"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_inline(mime_type: str) -> bool:
    # SVG is a document that can run scripts.
    return mime_type == "text/plain" or (mime_type.startswith("image/") and "svg" not in mime_type)


# What the templates need


def _when(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, rest = divmod(milliseconds // 1000, 60)
    return f"{minutes} min {rest} s"


def _suite(result: StoredResult) -> str:
    suite = (result.payload.get("relations") or {}).get("suite") or {}
    return " / ".join(part["title"] for part in suite.get("data", []))


def _has_details(result: StoredResult) -> bool:
    names = ("message", "params", "fields", "tags", "steps", "attachments", "testops_ids")
    payload = result.payload
    return bool(payload["execution"].get("stacktrace")) or any(payload.get(name) for name in names)


def _step_title(step: StepPayload) -> str:
    data = step["data"]
    shown = {
        "gherkin": ("keyword", "name"),
        "request": ("request_method", "request_url"),
        "db_query": ("query",),
        "assert": ("message",),
    }.get(step["step_type"], ("action",))
    title = " ".join(str(data[name]) for name in shown if data.get(name))
    return title or ("sleep" if step["step_type"] == "sleep" else step["step_type"])


def _step_data(step: StepPayload) -> dict[str, str]:
    """Return the data that the step's title does not show."""
    title = _step_title(step)
    return {
        name: str(value)
        for name, value in step["data"].items()
        if value not in (None, "", [], {}) and str(value) not in title
    }


def _attachments(step: StepPayload) -> list[AttachmentPayload]:
    """Return each attachment of a step once, because the contract has its list in two places."""
    links = [*step.get("attachments", []), *step["execution"].get("attachments", [])]
    return list({str(link["id"]): link for link in links}.values())


def _render(template: str, status_code: int = 200, /, **values: object) -> HTMLResponse:
    html = _templates.get_template(template).render(**values)
    return HTMLResponse(html, status_code, headers=_HEADERS)


_templates = Environment(
    loader=PackageLoader("famacase_xdist.server"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    when=_when,
    duration=_duration,
    suite=_suite,
    has_details=_has_details,
    step_title=_step_title,
    step_data=_step_data,
    attachments=_attachments,
    status=canonical_status,
    query=urlencode,
)
_templates.globals.update(statuses=STATUSES, deepest_step=_DEEPEST_STEP)
