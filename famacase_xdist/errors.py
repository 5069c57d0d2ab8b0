"""One error root, so that ``except FamacaseError`` is enough.

::

    FamacaseError
    ├── SettingsError       a setting is missing or has a value that is not allowed
    ├── OutboxError         the file that holds undelivered results cannot be used
    ├── CourierError        the process that delivers ended, or does not answer
    ├── PlanError           the test plan is not there, or has no cases
    ├── SharingError        a run key cannot be shared: the state directory cannot be used
    ├── ReportError         the file report cannot be written
    ├── DeliveryError       a request to Famacase did not succeed
    │   ├── LockTimeout     the lock of a run key did not come in time
    │   ├── NoAnswer        no usable answer: refused, timed out, cut off, no JSON
    │   └── Refused         the server answered with a status of 3xx, 4xx or 5xx
    └── ServerError         the embedded server failed
        ├── ServerStartError        it did not start
        ├── ListenError             its address cannot be listened on
        ├── IdempotencyConflict     a key that made one run came again with another body
        └── StoreError              its database cannot be used
            └── StoreVersionError   a newer version wrote the database
"""

from __future__ import annotations

from pathlib import Path

#: Statuses worth another try; every other 4xx is final (`docs/reporter-api.md`, "Statuses to retry").
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class FamacaseError(Exception):
    """Root of every error that this package raises on purpose."""


class SettingsError(FamacaseError):
    """A setting is missing, or its value is not allowed; the text names value, source and allowed values."""


class OutboxError(FamacaseError):
    """The outbox file cannot be opened, read or written."""


class CourierError(FamacaseError):
    """The process that delivers ended before its time, or does not answer."""


class PlanError(FamacaseError):
    """The test plan is not there, or has no cases, so that the tests to run are unknown."""


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
    """The lock of a run key did not come in time; the text names its holder."""


class NoAnswer(DeliveryError):
    """There was no usable answer; it is unknown whether the request reached the server.

    Attributes:
        cause: One word: ``connection``, ``timeout``, ``tls``, ``answer``, ``token``.
    """

    def __init__(self, text: str, *, cause: str) -> None:
        super().__init__(text)
        self.cause = cause
        self.retryable = cause != "token"


class Refused(DeliveryError):
    """The server answered with a status of 3xx, 4xx or 5xx.

    Attributes:
        status: The HTTP status.
        retry_after: The seconds that the server asks to wait, or None.
    """

    def __init__(self, text: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.retryable = status in RETRYABLE_STATUSES or status >= 500


class ServerError(FamacaseError):
    """The embedded server failed."""


class ServerStartError(ServerError):
    """The embedded server did not start; the message ends with its words on stderr."""


class ListenError(ServerError):
    """The address cannot be listened on; the message names it and says why."""


class IdempotencyConflict(ServerError):
    """An Idempotency-Key that made one run came again with another body."""


class StoreError(ServerError):
    """The database file cannot be used; the message names it and says why."""


class StoreVersionError(StoreError):
    """The database was written by a newer version of this package.

    Attributes:
        found: The version of the database's schema.
        supported: The newest version that this package knows.
    """

    def __init__(self, path: Path, found: int, supported: int) -> None:
        super().__init__(
            f"{path} has database version {found}, this version of famacase-xdist knows {supported}: "
            "update famacase-xdist or use another file"
        )
        self.found = found
        self.supported = supported
