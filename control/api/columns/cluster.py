"""The table columns of the small kinds. Pure."""

from collections.abc import Sequence
from datetime import datetime

from control.api.columns.base import (
    AGE,
    NAME,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    name_of,
    since,
    wide,
)


def _plain(wire: Wire, now: datetime) -> Sequence[Cell]:
    return name_of(wire), age_of(wire, now)


PLAIN = Columns((NAME, AGE), _plain)


def _namespace(namespace: Wire, now: datetime) -> Sequence[Cell]:
    phase = namespace.get("status", {}).get("phase", "")
    return name_of(namespace), phase, age_of(namespace, now)


NAMESPACE = Columns((NAME, Column("Status"), AGE), _namespace)


def _config_map(config_map: Wire, now: datetime) -> Sequence[Cell]:
    count = len(config_map.get("data", {})) + len(config_map.get("binaryData", {}))
    return name_of(config_map), count, age_of(config_map, now)


def _component(status: Wire, _now: datetime) -> Sequence[Cell]:
    found = (each for each in status.get("conditions", ()) if each["type"] == "Healthy")
    healthy = next(found, None)
    if healthy is None:
        return name_of(status), "Unknown", "", ""
    word = "Healthy" if healthy["status"] == "True" else "Unhealthy"
    return name_of(status), word, healthy.get("message", ""), healthy.get("error", "")


COMPONENT_STATUS = Columns(
    (
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    ),
    _component,
)
CONFIG_MAP = Columns((NAME, Column("Data"), AGE), _config_map)


def _secret(secret: Wire, now: datetime) -> Sequence[Cell]:
    count = len(secret.get("data", {}))
    return name_of(secret), secret.get("type", ""), count, age_of(secret, now)


SECRET = Columns((NAME, Column("Type"), Column("Data"), AGE), _secret)


def _service_account(account: Wire, now: datetime) -> Sequence[Cell]:
    return name_of(account), age_of(account, now)


SERVICE_ACCOUNT = Columns((NAME, AGE), _service_account)


def _lease(lease: Wire, now: datetime) -> Sequence[Cell]:
    holder = lease.get("spec", {}).get("holderIdentity", "")
    return name_of(lease), holder, age_of(lease, now)


LEASE = Columns((NAME, Column("Holder"), AGE), _lease)


def _event(event: Wire, now: datetime) -> Sequence[Cell]:
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    involved = event.get("involvedObject", {})
    kind, name = involved.get("kind", "").lower(), involved.get("name", "")
    return (
        since(last, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        involved.get("fieldPath", ""),
        _source(event),
        event.get("message", "").strip(),
        since(first, now),
        series.get("count") or event.get("count") or 1,
        name_of(event),
    )


def _source(event: Wire) -> str:
    source = event.get("source", {})
    component = source.get("component") or event.get("reportingComponent", "")
    host = source.get("host") or event.get("reportingInstance", "")
    return ", ".join(part for part in (component, host) if part)


EVENT = Columns(
    (
        Column("Last Seen"),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        wide("Subobject"),
        wide("Source"),
        Column("Message"),
        wide("First Seen"),
        wide("Count"),
        Column("Name", format="name", priority=1),
    ),
    _event,
)
