"""How long the authorization of a request takes, beside 500 roles of its user."""

import asyncio
import socket
import statistics
import time

from control.api import kinds
from control.api.rbac import Role, RoleBinding
from control.client import Client, ClientConfig
from control.server.access.attributes import AccessAttributes
from control.server.access.authn import Authenticator
from control.server.access.authz import Authorizer
from control.server.app import serve
from control.server.wire.request import User
from control.store.memory import MemoryStore

ROLES = 500
LIMIT = 20e-6  # seconds
_DECISIONS, _BATCHES = 2000, 15
_API = "rbac.authorization.k8s.io"


def measure() -> float:
    """Return the seconds of one decision: the median of batches, each of new questions."""
    return asyncio.run(_measure())


async def _measure() -> float:
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    trusting = Authenticator(trusting=True)
    async with (
        serve(MemoryStore(), [bound], authenticator=trusting) as state,
        Client(ClientConfig(url)) as client,
    ):
        for number in range(ROLES):
            await _give(client, number)
        await state.cache.fresh()
        authorizer = Authorizer(state.cache, ("RBAC",))
        return statistics.median(_batch(authorizer, turn) for turn in range(_BATCHES))


async def _give(client: Client, number: int) -> None:
    meta = {"name": f"r{number}", "namespace": "default"}
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": [f"things{number}"]}
    await client.create(kinds.ROLE, Role.parse({"metadata": meta, "rules": [rule]}))
    subject = {"kind": "User", "name": "alice", "apiGroup": _API}
    reference = {"kind": "Role", "name": f"r{number}", "apiGroup": _API}
    wire = {"metadata": meta, "subjects": [subject], "roleRef": reference}
    await client.create(kinds.ROLE_BINDING, RoleBinding.parse(wire))


def _batch(authorizer: Authorizer, turn: int) -> float:
    """Ask of other objects in each batch, so that no answer is a kept one."""
    user = User("alice", ("system:authenticated",))
    asked = [
        AccessAttributes("get", "", f"things{n % ROLES}", "", "default", f"x{turn}-{n}")
        for n in range(_DECISIONS)
    ]
    authorizer.decide(user, asked[0])
    begin = time.thread_time()
    for each in asked:
        authorizer.decide(user, each)
    return (time.thread_time() - begin) / _DECISIONS
