"""The test plan: its cases, asked for once, by the courier, before any process collects a test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tenacity import RetryCallState

from famacase_xdist.client.api import Api
from famacase_xdist.client.retry import retrying
from famacase_xdist.client.server import Server, connect
from famacase_xdist.errors import PlanError, Refused
from famacase_xdist.log import log
from famacase_xdist.settings.settings import Settings


def load(settings: Settings, server: Server, say: Callable[[str], None]) -> frozenset[int]:
    """Return the case ids of the plan that the settings name; asks as patiently as for every other request.

    Args:
        settings: With a plan.
        server: The server that has it.
        say: Called with the reason where it takes long.

    Raises:
        PlanError: It has no cases, or is not there.
        DeliveryError: It could not be loaded.
    """
    plan_id = settings.testops_plan_id
    assert plan_id is not None
    with contextlib.closing(connect(server, settings.project, settings.timeout)) as api:
        cases = _asked(api, plan_id, settings.retry_attempts, say)
    if not cases:
        raise PlanError("it has no cases")
    log.info("test plan %s has %d cases", plan_id, len(cases))
    return cases


def _asked(api: Api, plan_id: int, attempts: int, say: Callable[[str], None]) -> frozenset[int]:
    def waiting(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        say(f"waiting for test plan {plan_id}: {error}")

    patiently = retrying(attempts, before_sleep=waiting)
    try:
        return frozenset(patiently(lambda: api.plan_cases(plan_id)))
    except Refused as error:
        if error.status != 404:
            raise
        # Or is it the project that is not there?
        patiently(api.check_project)
        raise PlanError(f"there is no such plan in project {api.project}") from None


def refusal(settings: Settings, reason: object) -> str:
    """Return why no test is run: without the plan it is not known which tests to run."""
    source = settings.sources.get("testops_plan_id", "FAMACASE_TESTOPS_PLAN_ID")
    return f"test plan {settings.testops_plan_id} ({source}): {reason}; no test is run, for without it all would be"
