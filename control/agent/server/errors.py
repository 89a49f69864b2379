"""The error of a request that the agent refuses."""

from collections.abc import Iterable


class HttpError(Exception):
    """An HTTP code, and a text for the client, in kubelet's words where it has them."""

    def __init__(self, code: int, message: str, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.code, self.headers = code, tuple(headers)
