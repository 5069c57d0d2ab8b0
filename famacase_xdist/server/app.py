"""The routes of the embedded server: the Reporter Ingestion API, its errors, and the pages beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader

from famacase_xdist.errors import IdempotencyConflict

from . import multipart, pages
from .middleware import API_PREFIX, Gate
from .payloads import Public, Results, RunCreate
from .records import PROJECT_CODE, Environment, Limits, NewRun, StoredRun
from .store import Store

_SHOWN_ERRORS = 5

# The gate has checked the token already. This only names the header on the OpenAPI page.
_token = APIKeyHeader(name="Authorization", auto_error=False, description="Token rep_...")
router = APIRouter(prefix=API_PREFIX, dependencies=[Security(_token)])


@dataclass(frozen=True)
class Context:
    """What the calls work with.

    Attributes:
        projects: Codes of the only projects there are; None for any project, which is made at its first use.
    """

    store: Store
    limits: Limits
    projects: frozenset[str] | None


def create_app(
    store: Store,
    *,
    token: str,
    loopback: bool = True,
    projects: Iterable[str] | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """Return the application over an open store.

    Args:
        store: Used on the threads of the server. The application does not close it.
        token: What every API call must bring.
        loopback: Whether pages are open and only requests to a loopback host are answered. If not, pages need the
            token too.
        projects: Codes of the only projects there are, which are added; None for any project, which is made at its
            first use.
        limits: What one request may hold; None for the limits of the contract.
    """
    app = FastAPI(title="Famacase reporter API", version="1", description="The embedded server.")
    codes = None if projects is None else frozenset(projects)
    for code in codes or ():
        store.add_project(code)
    limits = limits or Limits()
    app.state.context = Context(store, limits, codes)
    app.state.store = store
    app.include_router(router)
    app.include_router(pages.router)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(404, pages.not_found)
    app.add_middleware(Gate, token=token, loopback=loopback, limits=limits)
    return app


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]


def _known_project(code: str, context: Ctx) -> str:
    if context.projects is None and PROJECT_CODE.fullmatch(code):
        context.store.add_project(code)
    elif context.projects is None or code not in context.projects:
        raise HTTPException(404, f"no project {code!r}")
    return code


KnownProject = Annotated[str, Depends(_known_project)]


def _known_run(run_id: int, code: KnownProject, context: Ctx) -> int:
    if not context.store.has_run(code, run_id):
        raise HTTPException(404, f"no run {run_id} in project {code!r}")
    return run_id


KnownRun = Annotated[int, Depends(_known_run)]


@router.get("/projects/{code}")
def get_project(code: KnownProject, context: Ctx) -> dict[str, object]:
    """Return the id, the code and the title of a project."""
    return vars(context.store.add_project(code))


@router.get("/projects/{code}/environments")
def list_environments(code: KnownProject, context: Ctx, slug: str | None = None) -> list[Environment]:
    """Return the environments, or only the one that has the slug."""
    if slug and context.projects is None:
        context.store.add_environment(code, slug)
    return context.store.environments(code, slug)


@router.get("/projects/{code}/plans/{plan_id}/cases")
def list_plan_cases(code: KnownProject, plan_id: int, context: Ctx) -> dict[str, list[int]]:
    """Return the case ids of a test plan."""
    cases = context.store.plan_cases(code, plan_id)
    if cases is None:
        raise HTTPException(404, f"no plan {plan_id} in project {code!r}")
    return {"case_ids": cases}


@router.post("/projects/{code}/runs")
def create_run(
    code: KnownProject,
    body: RunCreate,
    context: Ctx,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict[str, int]:
    """Create a run, or return the one that was created with the same Idempotency-Key."""
    _check_links(code, body, context.store)
    new = NewRun(**{**body.model_dump(), "tags": tuple(body.tags), "key": idempotency_key or None})
    try:
        return {"id": context.store.create_run(code, new)}
    except IdempotencyConflict as error:
        raise HTTPException(422, str(error)) from error


def _check_links(code: str, body: RunCreate, store: Store) -> None:
    if body.plan_id is not None and store.plan_cases(code, body.plan_id) is None:
        raise HTTPException(404, f"no plan {body.plan_id} in project {code!r}")
    if body.environment_id is not None and not store.has_environment(code, body.environment_id):
        raise HTTPException(404, f"no environment {body.environment_id} in project {code!r}")


@router.get("/projects/{code}/runs/{run_id}")
def get_run(run_id: KnownRun, context: Ctx, request: Request) -> dict[str, object]:
    """Return a run as it is now, with the number of its results by status."""
    run = context.store.run(run_id)
    assert run is not None
    return _shown(run, request)


def _shown(run: StoredRun, request: Request) -> dict[str, object]:
    return {**vars(run), "status": run.status, "url": _run_url(run.id, request)}


def _run_url(run_id: int, request: Request) -> str:
    return f"{request.base_url}runs/{run_id}"


@router.post("/projects/{code}/runs/{run_id}/results")
def add_results(run_id: KnownRun, body: Results, context: Ctx) -> dict[str, int]:
    """Keep results. A result replaces the one that has the same id."""
    count, limit = len(body.results), context.limits.results
    if count > limit:
        raise HTTPException(413, f"{count} results in one request, at most {limit} are allowed")
    context.store.add_results(run_id, [result.as_sent() for result in body.results])
    return {"received": count}


@router.post("/projects/{code}/attachments")
async def add_attachments(code: KnownProject, request: Request, context: Ctx) -> dict[str, object]:
    """Keep the files of a multipart body, in which each file is a part named ``files``."""
    async with multipart.received_files(request, context.limits) as files:
        kept = await run_in_threadpool(context.store.add_attachments, code, multipart.contents(files))
    names = ("id", "file_name", "mime_type", "file_size")
    return {"attachments": [{name: getattr(attachment, name) for name in names} for attachment in kept]}


@router.post("/projects/{code}/runs/{run_id}/complete")
def complete_run(run_id: KnownRun, context: Ctx) -> dict[str, object]:
    """Complete a run. To complete it again is no error."""
    context.store.complete_run(run_id)
    return {"id": run_id, "status": "completed"}


@router.post("/projects/{code}/runs/{run_id}/public")
def publish_run(run_id: KnownRun, body: Public, context: Ctx, request: Request) -> dict[str, str]:
    """Note whether the run is public, and return the link of its page."""
    context.store.publish_run(run_id, body.status)
    return {"url": _run_url(run_id, request)}


async def _unprocessable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [_fault(found) for found in error.errors()]
    told = "; ".join(f"{fault['where']}: {fault['message']}" for fault in faults[:_SHOWN_ERRORS])
    more = f"; and {len(faults) - _SHOWN_ERRORS} more" if len(faults) > _SHOWN_ERRORS else ""
    return JSONResponse({"detail": told + more, "errors": faults}, 422)


def _fault(found: Mapping[str, Any]) -> dict[str, object]:
    """Return the place and the message of a fault, without the input, because that may not be encodable."""
    path = [part for part in found["loc"] if part != "body"]
    index = path[1] if path[:1] == ["results"] and len(path) > 1 else None
    field = ".".join(str(part) for part in path[2:]) if index is not None else ".".join(map(str, path))
    where = f"results[{index}].{field}".rstrip(".") if index is not None else field or "body"
    return {
        "index": index,
        "field": _plain(field),
        "where": _plain(where),
        "message": _plain(found["msg"].removeprefix("Value error, ")),
    }


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()[:500]
