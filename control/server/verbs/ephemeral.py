"""The subresource pods/ephemeralcontainers: it adds containers to a Pod, and changes nothing else.

Source: https://github.com/kubernetes/enhancements/issues/277
"""

from collections.abc import Mapping
from typing import Any

from control.server.state.server import ServerState
from control.server.verbs import podsecurity
from control.server.wire import errors
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

SUBRESOURCE = "ephemeralcontainers"
_FIELD = "ephemeralContainers"
# Besides the containers, these count of what a client sends.
_PRECONDITIONS = ("name", "resourceVersion", "managedFields")


def narrowed(before: Mapping[str, Any], new: Wire) -> Wire:
    """Return the Pod as it is with the client's ephemeral containers."""
    given = {name: new["metadata"][name] for name in _PRECONDITIONS if name in new["metadata"]}
    spec = {name: value for name, value in before["spec"].items() if name != _FIELD}
    if added := new["spec"].get(_FIELD):
        spec[_FIELD] = added
    return {**before, "metadata": {**before["metadata"], **given}, "spec": spec}


def admit(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    """Hold the containers to the namespace's level; raises StatusError (403)."""
    if why := podsecurity.refused(state, request.info.namespace, wire["spec"]):
        raise errors.forbidden(request.info.kind, request.info.name, why)
    return wire
