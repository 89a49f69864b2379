"""This machine's member of etcd: its way into the cluster of members, and out of it.

It comes as a learner and is promoted when it has caught up, as kubeadm does it: until then it costs
the others no majority. Each step may be repeated; a member that has lost its data is a new one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from control.install import etcd_unit
from control.install.layout import InstallError, Layout
from control.install.settings import ControlPlaneSettings
from control.store.base import StoreError, StoreUnavailableError, StoreUrlError
from control.store.etcd import membership
from control.store.etcd.connection import EtcdConnection, members
from control.store.etcd.membership import Member

_SECONDS = 240.0  # for a majority, the joining of another machine, and catching up
_LEAVING_SECONDS = 30.0  # for a leader; the cluster may be gone for good
_PAUSE = 1.0
T = TypeVar("T")
Say = Callable[[str], None]


def has_data(layout: Layout) -> bool:
    """Return True if this machine's member has begun."""
    return (layout.state / "etcd/member/wal").exists()


@asynccontextmanager
async def asked(layout: Layout, hosts: Sequence[str]) -> AsyncIterator[EtcdConnection]:
    """Give a way to the members at some addresses; raises InstallError."""
    urls = ",".join(map(etcd_unit.client_url, hosts))
    names = zip(("cacert", "cert", "key"), etcd_unit.CLIENT_FILES, strict=True)
    files = "&".join(f"{name}={layout.pki / file}" for name, file in names)
    try:
        connection = EtcdConnection(members(f"{urls}?{files}"))
    except StoreUrlError as err:
        raise InstallError(str(err)) from err
    try:
        yield connection
    finally:
        connection.close()


async def enter(
    layout: Layout, settings: ControlPlaneSettings, hosts: Sequence[str], say: Say
) -> str:
    """Add this machine's member, unless it is one; return the members that it is to begin with.

    ``hosts`` are the addresses of the others. Raises InstallError.
    """
    own = etcd_unit.peer_url(settings.node)
    async with asked(layout, hosts) as connection:

        async def step() -> str:
            found = await membership.listed(connection)
            held = next((each for each in found if each.peer == own), None)
            if held is not None and has_data(layout):
                return settings.etcd.initialCluster
            if held is not None and not _is_new(held):
                await membership.remove(connection, held)
            if held is None or not _is_new(held):
                found = await membership.add(connection, own)
            made = next(each for each in found if each.peer == own)
            for host in hosts:
                await _know(layout, host, made)
            return _cluster(found, own, settings.node.name)

        return await _again(step, f"member {own} of etcd was not added", say)


def _is_new(held: Member) -> bool:
    """Return True for a member that was added, by a run that was cut short, and never started."""
    return held.learner and not held.name


async def _know(layout: Layout, host: str, made: Member) -> None:
    """Check that a member knows another by its present ID; raises StoreUnavailableError.

    One that is behind would tell the new member the ID that was removed, and it would keep that.
    A member that does not answer tells nothing.
    """
    async with asked(layout, [host]) as connection:
        try:
            found = await membership.listed(connection)
        except StoreError:
            return
    if made.id not in {each.id for each in found}:
        raise StoreUnavailableError(f"the member at {host} does not know {made.peer} yet")


def _cluster(found: Sequence[Member], own: str, name: str) -> str:
    """Return etcd's option: a member that has not begun has no name, and any will do."""
    names = {each.peer: each.name or f"{each.id:x}" for each in found} | {own: name}
    return ",".join(f"{name}={peer}" for peer, name in names.items())


async def promote(
    layout: Layout, settings: ControlPlaneSettings, hosts: Sequence[str], say: Say
) -> None:
    """Give this machine's member its vote, once it has caught up; raises InstallError."""
    own = etcd_unit.peer_url(settings.node)
    async with asked(layout, hosts) as connection:

        async def step() -> None:
            found = await membership.listed(connection)
            held = next((each for each in found if each.peer == own), None)
            if held is None:
                raise InstallError(
                    f"etcd has no member {own} any more: somebody has removed it; podwire reset, "
                    "then join again"
                )
            if held.learner:
                await membership.promote(connection, held)

        what = f"member {own} of etcd has no vote; see: journalctl -u podwire-etcd -n 50"
        await _again(step, what, say)


async def leave(layout: Layout, settings: ControlPlaneSettings, say: Say) -> bool:
    """Take this machine's member out; False if it is the only one. Raises InstallError.

    It is asked itself, or one of those that it began with.
    """
    own = etcd_unit.peer_url(settings.node)
    peers = [urlsplit(word.partition("=")[2]) for word in settings.etcd.initialCluster.split(",")]
    hosts = [settings.node.ips[0], *(peer.hostname for peer in peers if peer.hostname)]
    async with asked(layout, list(dict.fromkeys(hosts))) as connection:

        async def step() -> bool:
            found = await membership.listed(connection)
            held = next((each for each in found if each.peer == own), None)
            if held is None or len(found) == 1:
                return False
            await membership.remove(connection, held)
            return True

        return await _again(step, "it still is one", say, _LEAVING_SECONDS)


async def _again(
    step: Callable[[], Awaitable[T]], what: str, say: Say, seconds: float = _SECONDS
) -> T:
    """Repeat a step until etcd does it; raises InstallError."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return await step()
        except StoreError as err:
            if time.monotonic() >= ends:
                raise InstallError(f"{what}: {err}") from err
            say(str(err))
        await asyncio.sleep(_PAUSE)
