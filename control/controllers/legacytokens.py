"""Ends tokens of Secrets that nobody has used for a year (KEP-2799).

Only those that were made for an account by an older cluster: its ``secrets`` name them, and no Pod
does. They are marked as invalid first, and deleted after the same time again. Source:
k8s.io/kubernetes/pkg/controller/serviceaccount (legacy_serviceaccount_token_cleaner.go)
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from control.api import kinds
from control.api.cluster import Secret
from control.api.times import is_date, parse_time
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete, Patch
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState
from control.tokens import (
    INVALID_SINCE,
    LAST_USED,
    SECRET_NAME,
    SECRET_TYPE,
    SECRET_UID,
    TRACKING,
    TRACKING_NAMESPACE,
)

PERIOD = timedelta(days=365)
_LOOK = 24 * 3600.0


class LegacyTokenCleaner:
    """Marks and deletes such Secrets."""

    component = "legacy-service-account-token-cleaner"
    sources = (
        Source(kinds.SECRET, itself),
        Source(kinds.SERVICE_ACCOUNT, lambda *_: (), lambda *_: False),
        Source(kinds.POD, lambda *_: (), lambda *_: False),
        Source(kinds.CONFIG_MAP, lambda *_: (), lambda *_: False),
    )

    def __init__(self, period: timedelta = PERIOD) -> None:
        self._period = period

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Look at the Secret ``key``, now and once a day."""
        secret = cluster[kinds.SECRET].get(*key)
        if secret is None or secret.type != SECRET_TYPE:
            return
        today = datetime.fromtimestamp(now, UTC)
        if _tracked(cluster, today - self._period):
            yield from self._judge(cluster, secret, today)
        yield Again(_LOOK)

    def _judge(self, cluster: ClusterState, secret: Secret, now: datetime) -> Iterator[Action]:
        meta, before = secret.metadata, now - self._period
        created = parse_time(meta.creation_timestamp)
        if created is None or created >= before or meta.deletion_timestamp is not None:
            return
        used = meta.labels.get(LAST_USED)
        if used is not None and (not is_date(used) or used >= str(before.date())):
            return
        if not _is_generated(cluster, secret) or _is_mounted(cluster, secret):
            return
        since = meta.labels.get(INVALID_SINCE, "")
        if not is_date(since):
            labels = {INVALID_SINCE: str(now.date())}
            yield Patch(kinds.SECRET, secret, {"metadata": {"labels": labels}})
        elif since < str(before.date()):
            yield Delete(kinds.SECRET, secret)


def _tracked(cluster: ClusterState, before: datetime) -> bool:
    """Return True if uses have been noted since before a time."""
    found = cluster[kinds.CONFIG_MAP].get(TRACKING_NAMESPACE, TRACKING)
    since = found.data.get("since", "") if found else ""
    if not is_date(since):
        return False
    first = datetime.combine(date.fromisoformat(since), datetime.min.time(), UTC)
    return before >= first + timedelta(days=1)


def _is_generated(cluster: ClusterState, secret: Secret) -> bool:
    """Return True if the Secret's account names it."""
    notes = secret.metadata.annotations
    account = cluster[kinds.SERVICE_ACCOUNT].get(
        secret.metadata.namespace, notes.get(SECRET_NAME, "")
    )
    if account is None or notes.get(SECRET_UID, "") not in ("", account.metadata.uid):
        return False
    return any(each.name == secret.metadata.name for each in account.secrets)


def _is_mounted(cluster: ClusterState, secret: Secret) -> bool:
    pods = cluster[kinds.POD].within(secret.metadata.namespace)
    return any(secret.metadata.name in _secrets(pod.wire().get("spec", {})) for pod in pods)


def _secrets(value: Any, field: str = "") -> Iterator[str]:
    """Yield the names of Secrets in a Pod's spec, wherever they stand."""
    if isinstance(value, Mapping):
        if field in ("secret", "secretRef", "secretKeyRef") and "name" in value:
            yield value["name"]
        for name, inner in value.items():
            if name == "secretName":
                yield inner
            yield from _secrets(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            ref = "secretRef" if field == "imagePullSecrets" else field
            yield from _secrets(inner, ref)
