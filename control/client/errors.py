"""The errors of requests to an API server."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from control.reported import ReportedError

if TYPE_CHECKING:
    from control.api.meta import Status


@dataclass(frozen=True, slots=True)
class Operation:
    """The verb of a request and the object that it concerns, as an error names them.

    ``kind`` is the plural name for a whole collection, or a path for a request on no kind.
    """

    verb: str
    kind: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        if not self.name:
            where = f" in {self.namespace}" if self.namespace else ""
            return f"{self.verb} {self.kind}{where}"
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.verb} {self.kind} {path}" + (
            f" ({self.subresource})" if self.subresource else ""
        )


class ClientError(ReportedError):
    """A failed request; the message names the operation, the object and the cause."""


class InvalidNameError(ClientError):
    """A name that no object has, as it cannot stand in a path; nothing was sent."""


class OversizeError(ClientError):
    """The answer has more bytes than the caller takes."""


class UnreachableError(ClientError):
    """A request without an answer: no listener, a broken connection, or a timeout.

    The server may have done a write or not.
    """


class ApiError(ClientError):
    """A request that the API server refused; ``status`` is the server's answer."""

    def __init__(self, operation: Operation, status: "Status") -> None:
        super().__init__(f"{operation}: {status.code} {status.reason}: {status.message}")
        self.operation = operation
        self.status = status

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return self.status.code or 0

    @property
    def reason(self) -> str:
        """The machine-readable reason, such as AlreadyExists."""
        return self.status.reason or ""

    @property
    def not_found(self) -> bool:
        """True if the object or its namespace does not exist."""
        return self.code == HTTPStatus.NOT_FOUND

    @property
    def conflict(self) -> bool:
        """True if another client has written the object, or its UID is another."""
        return self.code == HTTPStatus.CONFLICT and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        """True if an object of this name exists."""
        return self.reason == "AlreadyExists"

    @property
    def expired(self) -> bool:
        """True if the resourceVersion is too old: the client has to list again."""
        return self.code == HTTPStatus.GONE

    @property
    def namespace_terminating(self) -> bool:
        """True if the namespace is being deleted and takes no new objects."""
        causes = self.status.details.causes if self.status.details else []
        return any(cause.reason == "NamespaceTerminating" for cause in causes)

    @property
    def retry_after(self) -> float | None:
        """The seconds after which the server wants a repeat; None if it asks for none."""
        if self.code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return None
        seconds = self.status.details.retry_after_seconds if self.status.details else None
        return float(seconds) if seconds else None
