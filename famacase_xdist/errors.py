"""One error root, so that ``except FamacaseError`` is enough.

::

    FamacaseError
    ├── SettingsError       a setting is missing or has a value that is not allowed
    ├── OutboxError         the file that holds undelivered results cannot be used
    ├── PlanError           the test plan is not there, or has no cases
    ├── SharingError        a run key cannot be shared: the state directory cannot be used
    ├── ReportError         the file report cannot be written
    ├── ServerStartError    the embedded server did not start (server/process.py)
    └── DeliveryError       a request to Famacase did not succeed
        ├── LockTimeout     the lock of a run key did not come in time
        ├── NoAnswer        no usable answer: refused, timed out, cut off, no JSON
        └── Refused         the server answered with a status of 3xx, 4xx or 5xx
"""

from __future__ import annotations

#: Statuses worth another try; every other 4xx is final (reporter-api.md, "Statuses to retry").
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class FamacaseError(Exception):
    """Root of every error that this package raises on purpose."""


class SettingsError(FamacaseError):
    """A setting is missing, or its value is not allowed; the text names value, source and what is allowed."""


class OutboxError(FamacaseError):
    """The outbox file cannot be opened, read or written."""


class PlanError(FamacaseError):
    """The test plan is not there, or has no cases: which tests are to run is not known."""


class SharingError(FamacaseError):
    """A run key cannot be shared: its place in the state directory cannot be read or written."""


class ReportError(FamacaseError):
    """The directory of the file report cannot be made or written."""


class DeliveryError(FamacaseError):
    """A request to Famacase did not succeed.

    Attributes:
        retryable: Whether the same request may succeed later.
    """

    retryable = False


class LockTimeout(DeliveryError):
    """The lock of a run key did not come in time; the text says who holds it."""


class NoAnswer(DeliveryError):
    """There was no usable answer: the request may or may not have reached the server.

    Attributes:
        cause: One word: ``connection``, ``timeout``, ``tls``, ``answer``, ``token``.
    """

    def __init__(self, text: str, *, cause: str) -> None:
        super().__init__(text)
        self.cause = cause
        self.retryable = cause != "token"


class Refused(DeliveryError):
    """The server answered, and the answer is no.

    Attributes:
        status: The HTTP status.
        retry_after: Seconds the server asked to wait, or None.
    """

    def __init__(self, text: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.retryable = status in RETRYABLE_STATUSES or status >= 500
