"""What is done with etcd itself: a snapshot of one member, and the rest of all of them.

Source: etcd's api/etcdserverpb/rpc.proto, service Maintenance.
"""

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from grpclib.client import UnaryStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from control.store.base import StoreUnavailableError
from control.store.etcd.connection import EtcdConnection, Members, Method
from control.store.etcd.v3 import rpc_pb2 as pb

_SERVICE = "/etcdserverpb.Maintenance"
_SNAPSHOT = Method(f"{_SERVICE}/Snapshot", pb.SnapshotRequest, pb.SnapshotResponse)
_DEFRAG = Method(f"{_SERVICE}/Defragment", pb.DefragmentRequest, pb.DefragmentResponse)
_STATUS = Method(f"{_SERVICE}/Status", pb.StatusRequest, pb.StatusResponse)
_DEFRAG_SECONDS = 300.0  # etcd copies its whole database, and answers nobody meanwhile


@dataclasses.dataclass(frozen=True, slots=True)
class Defragmented:
    """A member, and the bytes of its database before and after."""

    member: str
    before: int
    after: int


async def snapshot(members: Members) -> AsyncGenerator[tuple[bytes, int], None]:
    """Yield a member's database in pieces, each with the number of bytes that follow.

    At the end comes its SHA-256. Raises StoreUnavailableError.
    """
    connection = EtcdConnection(members)
    try:
        channel = await connection.channel()
        method = UnaryStreamMethod(channel, _SNAPSHOT.path, _SNAPSHOT.request, _SNAPSHOT.answer)
        async with method.open() as stream:
            await stream.send_message(pb.SnapshotRequest(), end=True)
            while (answer := await stream.recv_message()) is not None:
                yield answer.blob, answer.remaining_bytes
    except (GRPCError, OSError, StreamTerminatedError) as err:
        raise StoreUnavailableError(f"etcd ended the snapshot: {err}") from err
    finally:
        connection.close()


async def defragment(members: Members) -> AsyncGenerator[Defragmented, None]:
    """Let each member write its database anew, one after the other; raises StoreError."""
    for address in members.addresses:
        async with _one(members, address) as connection:
            before = (await connection.call(_STATUS, pb.StatusRequest())).dbSize
            await connection.call(_DEFRAG, pb.DefragmentRequest(), _DEFRAG_SECONDS)
            after = (await connection.call(_STATUS, pb.StatusRequest())).dbSize
        yield Defragmented(f"{address[0]}:{address[1]}", before, after)


@asynccontextmanager
async def _one(members: Members, address: tuple[str, int]) -> AsyncIterator[EtcdConnection]:
    connection = EtcdConnection(dataclasses.replace(members, addresses=(address,)))
    try:
        yield connection
    finally:
        connection.close()
