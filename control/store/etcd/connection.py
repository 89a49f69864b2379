"""Calls to etcd's members: one at a time, and the next one when it fails.

Source: etcd's api/etcdserverpb/rpc.proto; https://grpc.io/docs/guides/status-codes
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import Message
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from control.rpc import answer_of
from control.store.base import (
    MAX_BYTES,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUrlError,
    TooLargeError,
)
from control.store.etcd.v3 import rpc_pb2 as pb

_SECONDS = 10.0  # for one call; etcd gives up after 7
_CONNECT_SECONDS = 2.0
_AT_ONCE = 64  # calls; the time of one that waits here does not count
_LEADER = {"hasleader": "true"}  # a member that was cut off answers with an error, not for ever
_DEFAULT_PORT = 2379
# A member whose machine has died says nothing: it is asked. etcd allows one ping in 5 s.
_KEEP_ALIVE = Configuration(_keepalive_time=10.0, _keepalive_timeout=5.0)
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


class RevisionGoneError(StoreError):
    """etcd has compacted a revision."""


class LeaseGoneError(StoreError):
    """etcd has no lease of an ID any more; nothing was written."""


class RevisionToComeError(StoreError):
    """etcd has not reached a revision."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One call of etcd."""

    path: str
    request: type[Q]
    answer: type[A]


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse)
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", pb.CompactionRequest, pb.CompactionResponse)
_WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)


@dataclass(frozen=True, slots=True)
class Members:
    """Where etcd listens: hosts and ports, and how TLS is spoken; None for plain text."""

    addresses: tuple[tuple[str, int], ...]
    tls: ssl.SSLContext | None = None
    prefix: str = ""


def members(text: str) -> Members:
    """Parse ``URL[,URL...][?cacert=FILE&cert=FILE&key=FILE&prefix=/TEXT]``.

    Raises StoreUrlError.
    """
    urls, _, options = text.partition("?")
    parts = [urlsplit(url) for url in urls.split(",")]
    try:
        addresses = tuple((part.hostname or "", part.port or _DEFAULT_PORT) for part in parts)
    except ValueError as err:
        raise StoreUrlError(f"store etcd:{urls}: {err}") from err
    schemes = {part.scheme for part in parts}
    if schemes not in ({"http"}, {"https"}) or not all(host for host, _ in addresses):
        raise StoreUrlError(
            f"store etcd:{urls}: expected etcd:http://HOST:PORT or https, several with commas"
        )
    given = _options(options)
    tls = _context(given) if schemes == {"https"} else None
    return Members(addresses, tls, given.get("prefix", ""))


def _options(text: str) -> dict[str, str]:
    found = {name: values[-1] for name, values in parse_qs(text).items()}
    if unknown := found.keys() - {"cacert", "cert", "key", "prefix"}:
        raise StoreUrlError(f"store etcd: unknown option {', '.join(sorted(unknown))}")
    return found


def _context(given: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=given.get("cacert"))
        if "cert" in given:
            context.load_cert_chain(given["cert"], given.get("key"))
    except (OSError, ssl.SSLError) as err:
        raise StoreUrlError(f"store etcd: its certificates cannot be read: {err}") from err
    context.set_alpn_protocols(["h2"])
    return context


class EtcdConnection:
    """A connection to one member, and to the next one once that fails."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._turn = 0
        self._channel: Channel | None = None
        self._connecting = asyncio.Lock()
        self._calls = asyncio.Semaphore(_AT_ONCE)
        self.is_closed = False

    def close(self) -> None:
        """Close for good: calls under way fail, and later ones."""
        self.is_closed = True
        self._drop(self._channel)

    async def call(self, method: Method[Q, A], request: Q, seconds: float = _SECONDS) -> A:
        """Make a call once. Raises StoreUnavailableError, among them for a write that may have
        been done, StoreFullError, TooLargeError, RevisionGoneError, RevisionToComeError,
        LeaseGoneError.
        """
        async with self._calls:
            return await self._call(method, request, seconds)

    async def _call(self, method: Method[Q, A], request: Q, seconds: float) -> A:
        channel = await self.channel()
        make = UnaryUnaryMethod(channel, method.path, method.request, method.answer)
        try:
            return await answer_of(make(request, timeout=seconds, metadata=_LEADER))
        except GRPCError as err:
            if err.status in (Status.UNAVAILABLE, Status.INTERNAL):
                self._drop(channel)
            raise _error(err) from err
        except (OSError, TimeoutError, StreamTerminatedError) as err:
            self._drop(channel)
            raise self._down(err) from err

    async def read(self, method: Method[Q, A], request: Q) -> A:
        """Make a call that changes nothing: if a member fails, the others are asked."""
        for _ in self._members.addresses:
            with suppress(StoreUnavailableError):
                return await self.call(method, request)
        return await self.call(method, request)

    async def watch(self, request: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]:
        """Yield what etcd answers to a watch. Raises as ``call`` does; ends if etcd ends it."""
        channel = await self.channel()
        method = StreamStreamMethod(channel, _WATCH.path, _WATCH.request, _WATCH.answer)
        try:
            async with method.open(metadata=_LEADER) as stream:
                await stream.send_message(request)
                while (answer := await stream.recv_message()) is not None:
                    yield answer
        except GRPCError as err:
            self._drop(channel)
            raise _error(err) from err
        except (OSError, TimeoutError, StreamTerminatedError) as err:
            self._drop(channel)
            raise self._down(err) from err

    async def channel(self) -> Channel:
        """Return a channel to a member; raises StoreUnavailableError."""
        async with self._connecting:
            if self.is_closed:
                raise StoreUnavailableError("the store is closed")
            if self._channel is None:
                self._channel = await self._connect()
            return self._channel

    async def _connect(self) -> Channel:
        """Return a channel to the first member that takes one; raises StoreUnavailableError."""
        why: Exception | None = None
        for _ in self._members.addresses:
            host, port = self._address()
            channel = Channel(host, port, ssl=self._members.tls, config=_KEEP_ALIVE)
            try:
                await asyncio.wait_for(channel.__connect__(), _CONNECT_SECONDS)
            except (OSError, TimeoutError) as err:
                channel.close()
                why = err
                self._turn += 1
            else:
                return channel
        raise self._down(why)

    def _address(self) -> tuple[str, int]:
        return self._members.addresses[self._turn % len(self._members.addresses)]

    def _drop(self, channel: Channel | None) -> None:
        """Close a channel that has failed; the next call goes to the next member."""
        if channel is None:
            return
        channel.close()
        if channel is self._channel:
            self._channel = None
            self._turn += 1

    def _down(self, err: Exception | None) -> StoreUnavailableError:
        hosts = ", ".join(f"{host}:{port}" for host, port in self._members.addresses)
        why = str(err) or type(err).__name__
        return StoreUnavailableError(f"etcd at {hosts} does not answer: {why}")


def _error(err: GRPCError) -> StoreError:
    """Return the store's error for etcd's. Source: etcd's api/v3rpc/rpctypes/error.go."""
    text = err.message or err.status.name
    if err.status is Status.RESOURCE_EXHAUSTED and "space exceeded" in text:
        return StoreFullError(0)
    if err.status is Status.INVALID_ARGUMENT and "request is too large" in text:
        return TooLargeError(MAX_BYTES + 1)  # with what a transaction adds
    if err.status is Status.NOT_FOUND and "lease not found" in text:
        return LeaseGoneError(text)
    if err.status is Status.OUT_OF_RANGE:
        return RevisionGoneError(text) if "compacted" in text else RevisionToComeError(text)
    return StoreUnavailableError(f"etcd: {text}")
