"""Changes of the API's objects: one that is created, or fields of one that is there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from control.api.kind import Kind
from control.api.wire import ListPage
from control.client import ApiError, Client, ClientError
from debug.faults.acts.base import Act, FaultError, Stage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Raw:
    """An object as it came."""

    wire: dict[str, Any]

    @classmethod
    def read(cls, wire: dict[str, Any]) -> Self:
        """See ``Readable``."""
        return cls(wire)

    @classmethod
    def read_page(cls, body: bytes) -> ListPage[Self] | None:  # noqa: ARG003
        """See ``Readable``."""
        return None

    @property
    def key(self) -> tuple[str, str]:
        """See ``Readable``."""
        return self.wire["metadata"].get("namespace", ""), self.wire["metadata"]["name"]

    @property
    def uid(self) -> str:
        """See ``Readable``."""
        return str(self.wire["metadata"]["uid"])

    @property
    def resource_version(self) -> str:
        """See ``Readable``."""
        return str(self.wire["metadata"]["resourceVersion"])


KINDS: Mapping[str, Kind[Raw]] = {
    "Service": Kind("", "v1", "Service", "services", Raw),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", Raw),
}


class ObjectAct(Act, frozen=True, kw_only=True):
    """A change of one object."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """See ``Act``."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Created(ObjectAct, frozen=True, kw_only=True):
    """An object that was not there."""

    spec: dict[str, Any]

    def prepared(self, stage: Stage) -> Self:
        """See ``Act``."""
        if _get(stage, self) is not None:
            raise FaultError(f"there is a {self.key} already: delete it first")
        return self

    def do(self, stage: Stage) -> None:
        """See ``Act``."""
        kind = KINDS[self.kind]
        metadata = {"namespace": self.namespace, "name": self.name}
        wire = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
        _ask(stage, lambda api: api.apply(kind, wire | {"spec": self.spec}, "podwire-fault"))

    def undo(self, stage: Stage) -> None:
        """See ``Act``."""
        _ask(stage, lambda api: api.delete(KINDS[self.kind], self.namespace, self.name))


class Changed(ObjectAct, frozen=True, kw_only=True):
    """Fields of an object by a merge patch (RFC 7396); ``before`` is the patch that undoes it."""

    patch: dict[str, Any]
    before: dict[str, Any] = {}
    uid: str = ""

    def prepared(self, stage: Stage) -> Self:
        """See ``Act``."""
        found = _get(stage, self)
        if found is None:
            raise FaultError(f"there is no {self.key}")
        return replace(self, before=inverse(self.patch, found.wire), uid=found.uid)

    def do(self, stage: Stage) -> None:
        """See ``Act``."""
        self._send(stage, self.patch)

    def undo(self, stage: Stage) -> None:
        """See ``Act``. Another object of this name is left alone."""
        found = _get(stage, self)
        if found is not None and found.uid == self.uid:
            self._send(stage, self.before)

    def _send(self, stage: Stage, patch: dict[str, Any]) -> None:
        kind = KINDS[self.kind]
        _ask(stage, lambda api: api.patch(kind, self.namespace, self.name, patch))


def inverse(patch: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that gives a patched object the fields that it had.

    A value that was no object, or was missing, comes back whole; null removes.
    """
    return {key: _inverse(value, whole.get(key)) for key, value in patch.items()}


def _inverse(value: Any, had: Any) -> Any:
    if isinstance(value, dict) and isinstance(had, dict):
        return inverse(value, had)
    return had


def _get(stage: Stage, act: ObjectAct) -> Raw | None:
    return _ask(stage, lambda api: api.get(KINDS[act.kind], act.namespace, act.name))


def _ask(stage: Stage, request: Callable[[Client], Awaitable[T]]) -> T | None:
    """Ask the API once; None if the object is not there. Raises FaultError."""

    async def ask() -> T | None:
        async with Client.from_kubeconfig(stage.kubeconfig) as api:
            try:
                return await request(api)
            except ApiError as err:
                if err.not_found:
                    return None
                raise

    try:
        return asyncio.run(ask())
    except ClientError as err:
        raise FaultError(f"the API: {err}") from err
