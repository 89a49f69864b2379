"""Make aiohttp's response of an answer: of an error, or of an object in YAML."""

import orjson
from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict

from control.server.http.web_request import ServerRequest
from control.server.wire.accept import parse_accept
from control.server.wire.errors import StatusError
from control.server.wire.media import JSON, YAML
from control.server.wire.response import ApiResponse, warning_headers
from control.server.wire.yaml import write

# Bytes of JSON whose YAML is sent at once.
_SMALL = 32 * 1024
# Upstream's answer beyond --max-requests-inflight: k8s.io/apiserver/pkg/server/filters.
BUSY = ApiResponse(
    b"Too many requests, please try again later.\n",
    429,
    content_type="text/plain; charset=utf-8",
    headers=(("Retry-After", "1"), ("X-Content-Type-Options", "nosniff")),
)


def respond(answer: ApiResponse) -> web.Response:
    """Return the response of an answer that is sent at once."""
    return web.Response(body=answer.body, status=answer.code, headers=headers(answer))


def headers(answer: ApiResponse) -> CIMultiDict[str]:
    """Return the headers of an answer."""
    made = CIMultiDict({"Content-Type": answer.content_type})
    if answer.warnings or answer.headers:
        made.extend([*warning_headers(answer.warnings), *answer.headers])
    return made


def refusal(web_request: ServerRequest, err: StatusError) -> web.Response:
    """Return the response of an error, in the media type that the client prefers."""
    answer = _refused(err)
    if parse_accept(web_request.headers.get("Accept", "")).prefers_yaml():
        answer = in_yaml(web_request, answer)
    return respond(answer)


def _refused(err: StatusError) -> ApiResponse:
    details = err.status.details
    seconds = details.retry_after_seconds if details else None
    given = (("Retry-After", str(seconds)),) if seconds else ()
    return ApiResponse(err.body(), err.code, warnings=err.warnings, headers=given)


def in_yaml(web_request: ServerRequest, answer: ApiResponse) -> ApiResponse:
    """Return an answer of one object in YAML; the audit log keeps it in JSON."""
    if answer.content_type != JSON:
        return answer
    web_request.json_said = answer.body
    pieces = write.pieces(orjson.loads(answer.body))
    if len(answer.body) > _SMALL:
        return replace(answer, body=b"", content_type=YAML, pieces=pieces)
    return replace(answer, body=b"".join(pieces), content_type=YAML)


def json_of(response: web.StreamResponse | None) -> bytes:
    """Return the body of a response that is JSON and was sent at once; else nothing."""
    if not isinstance(response, web.Response) or response.content_type != JSON:
        return b""
    return response.body if isinstance(response.body, bytes) else b""
