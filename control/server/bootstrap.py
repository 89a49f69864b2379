"""What every cluster has from its first moment: the namespaces, and the way to the API server."""

from control.api.kinds import NAMESPACE
from control.server.create import make
from control.server.errors import Refused
from control.server.info import Info, storage_key
from control.server.world import Call, User, World

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SELF = User("system:apiserver", ("system:masters",))


async def bootstrap(world: World) -> None:
    """Make what is missing; raises Refused when the store does not take it."""
    await world.cache.fresh()
    for name in _NAMESPACES:
        if world.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", name)) is None:
            await _create_namespace(world, name)


async def _create_namespace(world: World, name: str) -> None:
    call = Call(Info("create", NAMESPACE, "", name), _SELF)
    wire = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
    try:
        await make(world, call, wire)
    except Refused as err:
        if err.code != 409:  # another API server was faster
            raise
