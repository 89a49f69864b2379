"""The errors of requests, with the code, reason and message of upstream's API server.

Source: k8s.io/apimachinery/pkg/api/errors; the reasons are those of metav1.StatusReason.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from control.api.base import encode
from control.api.field import FieldError
from control.api.kinds import Kind
from control.api.meta import Status, StatusCause, StatusDetails

_MAX_CAUSES = 100


class StatusError(Exception):
    """The failure of a request; the response is a Status.

    ``again`` is True after a conflict with another write: a repeat may succeed. ``warnings`` go
    into the response's headers.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: StatusDetails | None = None,
        *,
        again: bool = False,
    ) -> None:
        super().__init__(message)
        self.again = again
        self.warnings: tuple[str, ...] = ()
        self.status = Status(
            api_version="v1",
            kind="Status",
            metadata={},
            status="Failure",
            message=message,
            reason=reason or None,
            details=details,
            code=code,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error: it may come from another process."""
        return _status_error, (self.status.wire(), self.again, self.warnings)

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return self.status.code or 500

    def body(self) -> bytes:
        """Return the Status as JSON."""
        return encode(self.status.wire())


def _status_error(status: dict[str, Any], again: bool, warnings: tuple[str, ...]) -> StatusError:
    given = Status.parse(status)
    code, reason, message = given.code or 500, given.reason or "", given.message or ""
    made = StatusError(code, reason, message, given.details, again=again)
    made.warnings = warnings
    return made


@contextmanager
def warning(*warnings: str) -> Iterator[None]:
    """Add warnings to every StatusError that the block raises."""
    try:
        yield
    except StatusError as err:
        err.warnings = warnings
        raise


def resource(kind: Kind) -> str:
    """Return a resource's name in messages: ``pods`` or ``deployments.apps``."""
    group = kind.stored.group
    return f"{kind.plural}.{group}" if group else kind.plural


def _details(kind: Kind, name: str, *causes: StatusCause) -> StatusDetails:
    given = {"name": name, "group": kind.stored.group or None, "kind": kind.plural}
    shown: dict[str, Any] = {key: value for key, value in given.items() if value}
    return StatusDetails.model_validate(shown | ({"causes": list(causes)} if causes else {}))


def not_found(kind: Kind, name: str) -> StatusError:
    """The object does not exist."""
    message = f'{resource(kind)} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(kind, name))


def no_such_path() -> StatusError:
    """The resource or path does not exist."""
    return StatusError(
        404, "NotFound", "the server could not find the requested resource", StatusDetails()
    )


def already_exists(
    kind: Kind, name: str, *, generated: bool = False, being_deleted: bool = False
) -> StatusError:
    """An object of this name exists.

    ``generated`` says that the new one has a base for a generated name.
    """
    message, details = f'{resource(kind)} "{name}" already exists', _details(kind, name)
    if generated:
        message += ", the server was not able to generate a unique name for the object"
        details = details.model_copy(update={"retry_after_seconds": 1})
    if being_deleted:
        message = f"object is being deleted: {message}"
    return StatusError(409, "AlreadyExists", message, details)


def budget_spent(why: str, *, retry: int = 0) -> StatusError:
    """An eviction has to wait for other Pods; ``retry`` says how many seconds, if it is known."""
    cause = StatusCause(reason="DisruptionBudget", message=why)
    details = {"causes": [cause]} | ({"retry_after_seconds": retry} if retry else {})
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return StatusError(429, "TooManyRequests", message, StatusDetails.model_validate(details))


def conflict(kind: Kind, name: str, why: str = "", *, again: bool = False) -> StatusError:
    """The object has changed, or the precondition in ``why`` does not hold."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version"
        " and try again"
    )
    message = f'Operation cannot be fulfilled on {resource(kind)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(kind, name), again=again)


def invalid(kind: Kind, name: str, found: Sequence[FieldError]) -> StatusError:
    """The object is invalid; up to a hundred errors become causes."""
    return _invalid(kind.name, kind.stored.group, name, found)


def invalid_review(kind: str, group: str, found: Sequence[FieldError]) -> StatusError:
    """A question, such as a SubjectAccessReview, is invalid; it has no name."""
    return _invalid(kind, group, "", found)


def invalid_list_options(found: Sequence[FieldError]) -> StatusError:
    """The options of a list or a watch contradict each other."""
    return invalid_options("ListOptions", found)


def invalid_options(kind: str, found: Sequence[FieldError]) -> StatusError:
    """The options of a request, such as PatchOptions, are invalid."""
    return _invalid(kind, "meta.k8s.io", "", found)


def invalid_patch(found: FieldError) -> StatusError:
    """The patched object does not have its type; upstream names neither kind nor object."""
    return _invalid("", "", "", [found])


def undeterminable_name(url: str) -> StatusError:
    """The object has no name, and the URL names one."""
    where = f"the name of the object ({url} based on URL) was undeterminable"
    return bad_request(f"{where}: name must be provided")


def apply_conflict(message: str, causes: Sequence[StatusCause]) -> StatusError:
    """Others manage fields that a patch applies."""
    return StatusError(409, "Conflict", message, StatusDetails(causes=list(causes)))


def not_applicable(why: str) -> StatusError:
    """The applied object does not have its type; upstream answers with 500."""
    return StatusError(500, "", why)


def _invalid(kind: str, group: str, name: str, found: Sequence[FieldError]) -> StatusError:
    title = f"{kind}.{group}" if group else kind
    distinct = {str(error): error for error in found[:_MAX_CAUSES]}
    texts, errors = list(distinct), distinct.values()
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        StatusCause(reason=error.type, message=error.body(), field=error.path) for error in errors
    ]
    given = {"name": name or None, "group": group or None, "kind": kind, "causes": causes}
    details = StatusDetails.model_validate({k: v for k, v in given.items() if v})
    return StatusError(422, "Invalid", f'{title} "{name}" is invalid: {text}', details)


def forbidden(kind: Kind, name: str, why: str, *causes: StatusCause) -> StatusError:
    """The action is not allowed, and a repeat will not help."""
    named = f'{resource(kind)} "{name}"' if name else resource(kind)
    return StatusError(
        403, "Forbidden", f"{named} is forbidden: {why}", _details(kind, name, *causes)
    )


def forbidden_named(group: str, plural: str, name: str, why: str) -> StatusError:
    """The action on a resource that is not served, such as a user, is not allowed."""
    details = StatusDetails.model_validate({"name": name, "group": group or None, "kind": plural})
    named = f"{plural}.{group}" if group else plural
    return StatusError(403, "Forbidden", f'{named} "{name}" is forbidden: {why}', details)


def forbidden_resource(group: str, plural: str, why: str) -> StatusError:
    """The action on a resource that is never stored is not allowed."""
    details = StatusDetails.model_validate({"group": group or None, "kind": plural})
    named = f"{plural}.{group}" if group else plural
    return StatusError(403, "Forbidden", f"{named} is forbidden: {why}", details)


def forbidden_path(why: str) -> StatusError:
    """The request on a path that is no resource is not allowed."""
    return StatusError(403, "Forbidden", f"forbidden: {why}", StatusDetails())


def bad_request(why: str) -> StatusError:
    """The request is malformed."""
    return StatusError(400, "BadRequest", why)


def name_mismatch(name: str, url: str) -> StatusError:
    """The object has another name than the URL."""
    where = f"does not match the name on the URL ({url})"
    return bad_request(f"the name of the object ({name}) {where}")


def unauthorized() -> StatusError:
    """The request has no valid credentials."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> StatusError:
    """The resource does not have this verb."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, StatusDetails())


def not_watched(kind: Kind) -> StatusError:
    """The kind can be read and not be watched."""
    why = f'watch is not supported on resources of kind "{resource(kind)}"'
    return StatusError(405, "MethodNotAllowed", why, _details(kind, ""))


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """The server has no representation that the client accepts."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return StatusError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str], hint: str = "") -> StatusError:
    """The server cannot read the body's media type."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return StatusError(415, "UnsupportedMediaType", f"{message} ({hint})" if hint else message)


def unprocessable(why: str) -> StatusError:
    """The patch does not fit its object."""
    message = f"the server rejected our request due to an error in our request: {why}"
    return StatusError(422, "Invalid", message, StatusDetails())


def too_large(why: str) -> StatusError:
    """The body is larger than a limit, which ``why`` names."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")


def larger_than_etcd() -> StatusError:
    """The object is too large for the store; upstream passes etcd's error on, as a 500."""
    return StatusError(500, "", "etcdserver: request is too large")


def out_of_space() -> StatusError:
    """The store has reached its quota; etcd's error, as above."""
    return StatusError(500, "", "etcdserver: mvcc: database space exceeded")


def expired(why: str) -> StatusError:
    """The requested revision is compacted: the client has to list again."""
    return StatusError(410, "Expired", why)


def version_too_large(asked: int, current: int) -> StatusError:
    """The requested revision is in the future."""
    cause = StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    details = StatusDetails(causes=[cause], retry_after_seconds=1)
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return StatusError(504, "Timeout", message, details)


def timed_out(seconds: float) -> StatusError:
    """The request took longer than the limit in seconds."""
    why = f"Timeout: request did not complete within {seconds:.0f} s"
    return StatusError(504, "Timeout", why, StatusDetails())


def unavailable(why: str) -> StatusError:
    """The store or a node does not answer."""
    return StatusError(503, "ServiceUnavailable", why, StatusDetails(retry_after_seconds=1))


def internal(why: str) -> StatusError:
    """The server has failed; ``why`` must contain nothing secret."""
    cause = StatusCause(message=why)
    return StatusError(
        500, "InternalError", f"Internal error occurred: {why}", StatusDetails(causes=[cause])
    )
