"""Empties a namespace: every kind that the server serves, Pods first.

Kinds come from the server's discovery, so that those that podwire does not know are emptied too. A
group that is stale there, since its extension server does not answer, keeps the namespace.
Source: k8s.io/kubernetes/pkg/controller/namespace/deletion (KEP-5080 for the order).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from control.api.kinds import POD, Kind
from control.api.meta import Condition, Object
from control.api.times import rfc3339
from control.client.discovery import ServedKind, discover
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.listing import Listing
from control.client.rest import Client

_PODS = (POD.group, POD.plural)
# A kind that is served no more, or that cannot do what its server says that it can.
_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@dataclass(slots=True)
class Contents:
    """What is left in a namespace, and what kept it from being emptied."""

    left: Counter[str] = field(default_factory=Counter)  # by resource and group
    finalizers: Counter[str] = field(default_factory=Counter)
    undiscovered: list[str] = field(default_factory=list)  # group/version
    failures: list[str] = field(default_factory=list)  # errors of deletions

    @property
    def empty(self) -> bool:
        """True if there is nothing left, as far as every kind can tell."""
        return not (self.left or self.undiscovered or self.failures)


async def empty(client: Client, namespace: str) -> Contents:
    """Delete the contents of a namespace and return what is left; other kinds wait for Pods.

    Raises ClientError if the server cannot be asked what it serves, or cannot be reached.
    """
    discovery = await discover(client)
    contents = Contents(undiscovered=sorted(discovery.stale))
    found = [served for served in discovery.served.values() if _can_be_emptied(served)]
    pods = [served for served in found if (served.kind.group, served.kind.plural) == _PODS]
    for every in (pods, [served for served in found if served not in pods]):
        for served in every:
            await _empty_kind(client, served, namespace, contents)
        if contents.left or contents.failures:
            break
    return contents


def _can_be_emptied(served: ServedKind) -> bool:
    return served.kind.namespaced and "delete" in served.verbs


async def _empty_kind(
    client: Client, served: ServedKind, namespace: str, contents: Contents
) -> None:
    """Delete the objects of a kind that are not on their way out, and count what is left."""
    kind = served.kind
    try:
        listing = await _emptied(client, served, namespace)
    except UnreachableError:
        raise
    except ApiError as err:
        if err.code not in _ABSENT:  # the kind itself may be removed
            contents.failures.append(f"{kind.plural}.{kind.group}: {err.status.message}")
        return
    except ClientError as err:  # an extension server's answer that cannot be read
        contents.failures.append(f"{kind.plural}.{kind.group}: {err}")
        return
    if count := len(listing.items) + len(listing.unreadable):
        contents.left[f"{kind.plural}.{kind.group}"] += count
    contents.finalizers.update(name for item in listing.items for name in item.metadata.finalizers)


async def _emptied(client: Client, served: ServedKind, namespace: str) -> Listing[Object]:
    """Delete, by what the kind can do, and return what is left as far as it can be listed."""
    kind, at_once = served.kind, "deletecollection" in served.verbs
    if "list" not in served.verbs:
        if at_once:
            await client.delete_collection(kind, namespace)
        return Listing((), "")
    listing = await client.list(kind, namespace)
    stay = [item for item in listing.items if item.metadata.deletion_timestamp is None]
    if not stay:
        return listing
    if at_once:
        await client.delete_collection(kind, namespace)
    else:
        for item in stay:
            await _delete(client, kind, namespace, item)
    return await client.list(kind, namespace)


async def _delete(client: Client, kind: Kind, namespace: str, item: Object) -> None:
    try:
        await client.delete(kind, namespace, item.metadata.name, propagation="Background")
    except ApiError as err:
        if err.code not in _ABSENT:
            raise


# Each condition: its type, its reason when something is wrong, its reason and message when not.
_CONDITIONS = (
    (
        "NamespaceDeletionDiscoveryFailure",
        "DiscoveryFailed",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "GroupVersionParsingFailed",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeletionFailed",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (
        "NamespaceContentRemaining",
        "SomeResourcesRemain",
        "ContentRemoved",
        "All content successfully removed",
    ),
    (
        "NamespaceFinalizersRemaining",
        "SomeFinalizersRemain",
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
)


def conditions(before: Iterable[Condition], contents: Contents, now: float) -> list[Condition]:
    """Return a namespace's conditions; a time changes with its condition's status. Pure."""
    old, problems = {condition.type: condition for condition in before}, _problems(contents)
    found = [
        _condition(kind, problems.get(kind, ""), reasons, old.pop(kind, None), now)
        for kind, *reasons in _CONDITIONS
    ]
    return found + list(old.values())


def _problems(contents: Contents) -> dict[str, str]:
    """Return what is wrong, by the type of its condition; empty text if nothing is."""
    undiscovered, failures = contents.undiscovered, sorted(contents.failures)
    texts = {
        "NamespaceDeletionDiscoveryFailure": (
            f"Discovery failed for some groups, {len(undiscovered)} failing: unable to retrieve the"
            " complete list of server APIs: ",
            [f"{name}: stale GroupVersion discovery: {name}" for name in undiscovered],
        ),
        "NamespaceDeletionContentFailure": (
            f"Failed to delete all resource types, {len(failures)} remaining: ",
            failures,
        ),
        "NamespaceContentRemaining": (
            "Some resources are remaining: ",
            [f"{name} has {count} resource instances" for name, count in _sorted(contents.left)],
        ),
        "NamespaceFinalizersRemaining": (
            "Some content in the namespace has finalizers remaining: ",
            [
                f"{name} in {count} resource instances"
                for name, count in _sorted(contents.finalizers)
            ],
        ),
    }
    return {
        kind: f"{noun}{', '.join(parts)}" if parts else "" for kind, (noun, parts) in texts.items()
    }


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items())


def _condition(
    kind: str, problem: str, reasons: list[str], old: Condition | None, now: float
) -> Condition:
    bad, good, well = reasons
    status = "True" if problem else "False"
    same = old is not None and old.status == status
    return Condition(
        type=kind,
        status=status,
        reason=bad if problem else good,
        message=problem or well,
        last_transition_time=old.last_transition_time if old and same else rfc3339(now),
    )


class NotEmptyError(ClientError):
    """A namespace cannot be finalized yet: it has objects."""
