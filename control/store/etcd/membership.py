"""Who is a member of an etcd: list, add as a learner, promote, remove.

A learner gets all writes and has no vote, so that one that does not start costs no majority. Each
call may fail for a while, as StoreUnavailableError says: a change of members wants a leader, and
the last one to be done. Source: etcd's api/etcdserverpb/rpc.proto, service Cluster;
https://etcd.io/docs/v3.5/learning/design-learner/
"""

from collections.abc import Iterable
from dataclasses import dataclass

from control.store.etcd.connection import EtcdConnection, Method
from control.store.etcd.v3 import rpc_pb2 as pb

_SERVICE = "/etcdserverpb.Cluster"
_LIST = Method(f"{_SERVICE}/MemberList", pb.MemberListRequest, pb.MemberListResponse)
_ADD = Method(f"{_SERVICE}/MemberAdd", pb.MemberAddRequest, pb.MemberAddResponse)
_PROMOTE = Method(f"{_SERVICE}/MemberPromote", pb.MemberPromoteRequest, pb.MemberPromoteResponse)
_REMOVE = Method(f"{_SERVICE}/MemberRemove", pb.MemberRemoveRequest, pb.MemberRemoveResponse)


@dataclass(frozen=True, slots=True)
class Member:
    """A member; one that has never started has no name."""

    id: int
    name: str
    peer: str  # the URL by which the others reach it
    learner: bool


async def listed(connection: EtcdConnection) -> tuple[Member, ...]:
    """Return all members; raises StoreError."""
    answer = await connection.read(_LIST, pb.MemberListRequest(linearizable=True))
    return _members(answer.members)


async def add(connection: EtcdConnection, peer: str) -> tuple[Member, ...]:
    """Add a learner; return all members, with it. Raises StoreError."""
    request = pb.MemberAddRequest(peerURLs=[peer], isLearner=True)
    return _members((await connection.call(_ADD, request)).members)


async def promote(connection: EtcdConnection, member: Member) -> None:
    """Give a learner a vote; raises StoreError, also while it has not caught up."""
    await connection.call(_PROMOTE, pb.MemberPromoteRequest(ID=member.id))


async def remove(connection: EtcdConnection, member: Member) -> None:
    """Remove a member; raises StoreError, also if too few others run."""
    await connection.call(_REMOVE, pb.MemberRemoveRequest(ID=member.id))


def _members(found: Iterable[pb.Member]) -> tuple[Member, ...]:
    return tuple(Member(m.ID, m.name, next(iter(m.peerURLs), ""), m.isLearner) for m in found)
