"""What is refused or completed because of the rest of the cluster. Small steps, in order.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from control.api.kinds import NAMESPACE
from control.api.meta import StatusCause
from control.server import errors
from control.server.info import storage_key
from control.server.item import Wire
from control.server.world import Call, World


def admit(world: World, call: Call, wire: Wire) -> Wire:
    """The new object as it may be stored; raises Refused (403, 404)."""
    if call.info.kind.namespaced:
        _namespace_lifecycle(world, call)
    return wire


def _namespace_lifecycle(world: World, call: Call) -> None:
    """NamespaceLifecycle: nothing new where there is no namespace, or where it is going."""
    namespace = call.info.namespace
    item = world.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", namespace))
    if item is None:
        raise errors.not_found(NAMESPACE, namespace)
    if "deletionTimestamp" in item.wire["metadata"]:
        cause = StatusCause(
            reason="NamespaceTerminating",
            message=f"namespace {namespace} is being terminated",
            field="metadata.namespace",
        )
        why = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        raise errors.forbidden(call.info.kind, call.info.name, why, cause)
