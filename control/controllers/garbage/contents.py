"""Empties a namespace: every kind that the server serves, Pods first.

Kinds come from the server's discovery, so that those that podwire does not know are emptied too.
Source: k8s.io/kubernetes/pkg/controller/namespace/deletion (KEP-5080 for the order).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from control.api.kinds import POD, Kind
from control.api.meta import Condition, Object
from control.api.times import rfc3339
from control.client.errors import ApiError, ClientError
from control.client.rest import Client

_NEEDED = {"delete", "list"}


@dataclass(slots=True)
class Contents:
    """What is left in a namespace, and what kept it from being emptied."""

    left: Counter[str] = field(default_factory=Counter)  # by resource and group
    finalizers: Counter[str] = field(default_factory=Counter)
    undiscovered: list[str] = field(default_factory=list)  # errors of discovery
    failures: list[str] = field(default_factory=list)  # errors of deletions

    @property
    def empty(self) -> bool:
        """True if there is nothing left, as far as every kind can tell."""
        return not (self.left or self.undiscovered or self.failures)


async def empty(client: Client, namespace: str) -> Contents:
    """Delete the contents of a namespace and return what is left; other kinds wait for Pods.

    Raises ClientError if the server cannot be reached.
    """
    contents = Contents()
    found = await _discover(client, contents)
    pods = [kind for kind in found if (kind.group, kind.plural) == (POD.group, POD.plural)]
    for kinds in (pods, [kind for kind in found if kind not in pods]):
        for kind in kinds:
            await _empty_kind(client, kind, namespace, contents)
        if contents.left or contents.failures:
            break
    return contents


async def _discover(client: Client, contents: Contents) -> list[Kind]:
    """Return every namespaced kind whose objects can be listed and deleted, each once."""
    groups = orjson.loads(await client.raw("/apis")).get("groups", [])
    preferred = [group["preferredVersion"]["groupVersion"] for group in groups]
    found: dict[tuple[str, str], Kind] = {}
    for version, path in (("v1", "/api/v1"), *((name, f"/apis/{name}") for name in preferred)):
        try:
            resources = orjson.loads(await client.raw(path)).get("resources", [])
        except ApiError as err:
            contents.undiscovered.append(f"{version}: {err.status.message}")
            continue
        for kind in _kinds(version, resources):
            found.setdefault((kind.group, kind.plural), kind)
    return list(found.values())


def _kinds(version: str, resources: Iterable[Mapping[str, Any]]) -> Iterator[Kind]:
    group, _, number = version.rpartition("/")
    for resource in resources:
        whole = "/" not in resource["name"]  # not a subresource
        if whole and resource.get("namespaced") and set(resource.get("verbs", ())) >= _NEEDED:
            yield Kind(group, number, resource["kind"], resource["name"], Object)


async def _empty_kind(client: Client, kind: Kind, namespace: str, contents: Contents) -> None:
    """Delete the objects of a kind that are not on their way out, and count what is left."""
    try:
        listing = await client.list(kind, namespace)
        if any(item.metadata.deletion_timestamp is None for item in listing.items):
            await client.delete_collection(kind, namespace)
            listing = await client.list(kind, namespace)
    except ApiError as err:
        if not err.not_found:  # the kind itself may be removed
            contents.failures.append(f"{kind.plural}.{kind.group}: {err.status.message}")
        return
    if count := len(listing.items) + len(listing.unreadable):
        contents.left[f"{kind.plural}.{kind.group}"] += count
    contents.finalizers.update(name for item in listing.items for name in item.metadata.finalizers)


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
            f"Discovery failed for some groups, {len(undiscovered)} failing: ",
            undiscovered,
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
