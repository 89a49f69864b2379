"""What can go wrong between a client and its API server."""

from http import HTTPStatus

from control.api.meta import Status


class ClientError(Exception):
    """A request failed; the message names operation, object and cause."""


class UnreachableError(ClientError):
    """No answer: nobody listens, the connection broke, or it took too long.

    A write may or may not have happened.
    """


class ApiError(ClientError):
    """The API server refused; ``status`` is its answer."""

    def __init__(self, operation: str, status: Status) -> None:
        super().__init__(f"{operation}: {status.code} {status.reason}: {status.message}")
        self.operation = operation
        self.status = status

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return self.status.code or 0

    @property
    def reason(self) -> str:
        """The machine-readable cause, such as AlreadyExists."""
        return self.status.reason or ""

    @property
    def not_found(self) -> bool:
        """The object, or its namespace, does not exist."""
        return self.code == HTTPStatus.NOT_FOUND

    @property
    def conflict(self) -> bool:
        """Somebody else wrote the object first, or its uid is another."""
        return self.code == HTTPStatus.CONFLICT and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        """An object of that name exists."""
        return self.reason == "AlreadyExists"

    @property
    def expired(self) -> bool:
        """The resourceVersion asked for is too old: list again."""
        return self.code == HTTPStatus.GONE

    @property
    def namespace_terminating(self) -> bool:
        """Nothing new can be made in this namespace any more."""
        causes = self.status.details.causes if self.status.details else []
        return any(cause.reason == "NamespaceTerminating" for cause in causes)

    @property
    def retry_after(self) -> float | None:
        """After how many seconds the server wants to be asked again; None: not at all."""
        if self.code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return None
        seconds = self.status.details.retry_after_seconds if self.status.details else None
        return float(seconds) if seconds else None
