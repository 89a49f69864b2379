"""What a request on resources that the server does not know asks for. Pure.

They are those of an extension, or of nobody. It goes by the path alone, as upstream for all.
Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go
"""

from collections.abc import Mapping

from control.server.access.attributes import AccessAttributes, selected
from control.server.wire.errors import no_such_path
from control.server.wire.info import is_true

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_NAMESPACES = ("status", "finalize")
_LONG = ("attach", "exec", "log", "portforward", "proxy")


def attributes_at(method: str, path: str, query: Mapping[str, str]) -> AccessAttributes:
    """Return what a request below ``/apis/GROUP/VERSION`` or ``/api/VERSION`` needs permission for.

    Raises StatusError (404) for a path with ``.`` or ``..``: its server may read it as another one.
    """
    parts = path.strip("/").split("/")
    if "." in parts or ".." in parts:
        raise no_such_path()
    group, rest = ("", parts[2:]) if parts[0] == "api" else ("".join(parts[1:2]), parts[3:])
    if parts[0] not in ("api", "apis") or not rest:  # also the schemas of a group and version
        return AccessAttributes(method.lower(), path=path)
    verb = _VERBS.get(method, "")
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        rest = rest[2:] if len(rest) > 2 and rest[2] not in _OF_NAMESPACES else rest
    resource, name, subresource = (*rest, "", "")[:3]
    if not name:
        verb, name = _on_all(verb, query)
    return AccessAttributes(verb, group, resource, subresource, namespace, name)


def _on_all(verb: str, query: Mapping[str, str]) -> tuple[str, str]:
    """Return the verb of a request without a name, and the name that a selector asks for."""
    if verb == "get":
        verb = "watch" if is_true(query.get("watch", "0")) else "list"
    if verb in ("list", "watch"):
        return verb, selected(query.get("fieldSelector", ""), "metadata.name")
    return ("deletecollection" if verb == "delete" else verb), ""


def runs_long(asked: AccessAttributes) -> bool:
    """Return True for a request whose answer has no end by itself."""
    return asked.verb in ("watch", "proxy") or asked.subresource in _LONG
