"""The rules for retries: which requests, how often, after how long; `docs/reporter-api.md`, "Statuses to retry"."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, nap, retry_if_exception, stop_after_attempt, stop_never
from tenacity.stop import stop_base
from tenacity.wait import wait_random_exponential

from famacase_xdist.errors import DeliveryError
from famacase_xdist.log import log

#: The longest wait between two tries in seconds. If the server asks for more, it gets at most six times as much.
MAX_WAIT = 10.0

_jitter = wait_random_exponential(multiplier=0.5, max=MAX_WAIT)


def retrying(
    attempts: int,
    *,
    sleep: Callable[[float], None] = nap.sleep,
    give_up: stop_base = stop_never,
    before_sleep: Callable[[RetryCallState], None] = lambda state: None,
) -> Retrying:
    """Return a `Retrying` that makes a call, and repeats it if it failed with a `DeliveryError` that is retryable.

    The waits between tries are random and their limit doubles (full jitter); a longer Retry-After is respected.

    Args:
        attempts: The number of tries; the error of the last one is raised.
        sleep: Waits between two tries.
        give_up: A condition that ends the tries early.
        before_sleep: Called after a try that failed and that will be repeated.
    """

    def failed(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info(
            "try %d of %d failed, again in %.1f s: %s", state.attempt_number, attempts, state.upcoming_sleep, error
        )
        before_sleep(state)

    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, DeliveryError) and error.retryable),
        stop=stop_after_attempt(attempts) | give_up,
        wait=_wait_seconds,
        sleep=sleep,
        before_sleep=failed,
        reraise=True,
    )


def _wait_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None) or 0.0
    return max(_jitter(state), min(asked, MAX_WAIT * 6))
