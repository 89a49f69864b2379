"""The table columns of what extends or guards the API server, and of networking. Pure."""

from collections.abc import Sequence
from datetime import datetime

from control.api.columns.base import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    human,
    name_of,
)
from control.api.columns.fields import UNSET, field_at, text
from control.api.columns.workload import number
from control.api.meta import LabelSelector
from control.api.selectors import format_labels


def _webhooks(wire: Wire, now: datetime) -> Sequence[Cell]:
    return name_of(wire), len(wire.get("webhooks", ())), age_of(wire, now)


WEBHOOKS = Columns((NAME, number("Webhooks"), AGE), _webhooks)


def _policy(header: str, path: str) -> Columns:
    """Make the columns of a policy with the count of a list, and with its kind of parameters."""

    def cells(wire: Wire, now: datetime) -> Sequence[Cell]:
        kind = field_at(wire, "spec.paramKind")
        shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
        return name_of(wire), len(field_at(wire, path) or ()), shown, age_of(wire, now)

    return Columns((NAME, number(header), Column("ParamKind"), AGE), cells)


VALIDATING_POLICY = _policy("Validations", "spec.validations")
MUTATING_POLICY = _policy("Mutations", "spec.mutations")


def _policy_binding(wire: Wire, now: datetime) -> Sequence[Cell]:
    given = field_at(wire, "spec.paramRef")
    shown = UNSET
    if given and "name" in given:
        shown = f"{given.get('namespace', '*')}/{given['name']}"
    elif given:
        shown = format_labels(LabelSelector.parse(given.get("selector", {}))) or NONE
    return name_of(wire), text(wire, "spec.policyName", ""), shown, age_of(wire, now)


POLICY_BINDING = Columns((NAME, Column("PolicyName"), Column("ParamRef"), AGE), _policy_binding)


def _api_service(wire: Wire, now: datetime) -> Sequence[Cell]:
    service = field_at(wire, "spec.service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    conditions = field_at(wire, "status.conditions") or ()
    found = next((item for item in conditions if item.get("type") == "Available"), None)
    available = "Unknown"
    if found:
        available = found.get("status", "")
        if available != "True":
            available += f" ({found.get('reason', '')})"
    return name_of(wire), where, available, age_of(wire, now)


API_SERVICE = Columns((NAME, Column("Service"), Column("Available"), AGE), _api_service)


def _flow_schema(wire: Wire, now: datetime) -> Sequence[Cell]:
    conditions = field_at(wire, "status.conditions") or ()
    dangling: Wire = next((item for item in conditions if item.get("type") == "Dangling"), {})
    return (
        name_of(wire),
        text(wire, "spec.priorityLevelConfiguration.name", ""),
        field_at(wire, "spec.matchingPrecedence") or 0,
        text(wire, "spec.distinguisherMethod.type", NONE),
        age_of(wire, now),
        dangling.get("status") or "?",
    )


FLOW_SCHEMA = Columns(
    (
        NAME,
        Column("PriorityLevel"),
        Column("MatchingPrecedence"),
        Column("DistinguisherMethod"),
        AGE,
        Column("MissingPL"),
    ),
    _flow_schema,
)


def _priority_level(wire: Wire, now: datetime) -> Sequence[Cell]:
    queuing, names = (
        "spec.limited.limitResponse.queuing",
        ("queues", "handSize", "queueLengthLimit"),
    )
    shares = field_at(wire, "spec.limited.nominalConcurrencyShares")
    return (
        name_of(wire),
        text(wire, "spec.type", ""),
        NONE if shares is None else shares,
        *(NONE if (it := field_at(wire, f"{queuing}.{name}")) is None else it for name in names),
        age_of(wire, now),
    )


PRIORITY_LEVEL = Columns(
    (
        NAME,
        *map(Column, ("Type", "NominalConcurrencyShares", "Queues", "HandSize")),
        Column("QueueLengthLimit"),
        AGE,
    ),
    _priority_level,
)


def _signing_request(wire: Wire, now: datetime) -> Sequence[Cell]:
    conditions = field_at(wire, "status.conditions") or ()
    types = {found.get("type") for found in conditions}
    states = [name for name in ("Denied", "Approved") if name in types][:1] or ["Pending"]
    states += ["Failed"] * ("Failed" in types)
    states += ["Issued"] * bool(field_at(wire, "status.certificate"))
    seconds = field_at(wire, "spec.expirationSeconds")
    return (
        name_of(wire),
        age_of(wire, now),
        text(wire, "spec.signerName", NONE),
        text(wire, "spec.username", ""),
        NONE if seconds is None else human(seconds),
        ",".join(states),
    )


SIGNING_REQUEST = Columns(
    (
        NAME,
        AGE,
        *map(Column, ("SignerName", "Requestor", "RequestedDuration", "Condition")),
    ),
    _signing_request,
)
_SHOWN_HOSTS = 3


def _ingress(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec = wire.get("spec", {})
    return (
        name_of(wire),
        text(wire, "spec.ingressClassName", NONE),
        _hosts(spec.get("rules", ())),
        _address(field_at(wire, "status.loadBalancer.ingress") or ()),
        "80, 443" if spec.get("tls") else "80",
        age_of(wire, now),
    )


def _hosts(rules: Sequence[Wire]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    more = len(hosts) >= _SHOWN_HOSTS and len(rules) > _SHOWN_HOSTS
    shown = ",".join(hosts[:_SHOWN_HOSTS])
    return f"{shown} + {len(rules) - _SHOWN_HOSTS} more..." if more else shown or "*"


def _address(points: Sequence[Wire]) -> str:
    found = sorted({point.get("ip") or point.get("hostname") or "" for point in points} - {""})
    return ",".join(found)


INGRESS = Columns(
    (NAME, *map(Column, ("Class", "Hosts", "Address", "Ports")), AGE),
    _ingress,
)


def _ingress_class(wire: Wire, now: datetime) -> Sequence[Cell]:
    given = field_at(wire, "spec.parameters")
    parameters = NONE
    if given:
        group = f".{given['apiGroup']}" if given.get("apiGroup") else ""
        parameters = f"{given.get('kind', '')}{group}/{given.get('name', '')}"
    return name_of(wire), text(wire, "spec.controller", ""), parameters, age_of(wire, now)


INGRESS_CLASS = Columns((NAME, Column("Controller"), Column("Parameters"), AGE), _ingress_class)


def _network_policy(wire: Wire, now: datetime) -> Sequence[Cell]:
    selector = LabelSelector.parse(field_at(wire, "spec.podSelector") or {})
    return name_of(wire), format_labels(selector) or NONE, age_of(wire, now)


NETWORK_POLICY = Columns((NAME, Column("Pod-Selector"), AGE), _network_policy)


def _service_cidr(wire: Wire, now: datetime) -> Sequence[Cell]:
    return name_of(wire), ",".join(field_at(wire, "spec.cidrs") or ()), age_of(wire, now)


SERVICE_CIDR = Columns((NAME, Column("CIDRs"), AGE), _service_cidr)


def _ip_address(wire: Wire, _: datetime) -> Sequence[Cell]:
    parent = field_at(wire, "spec.parentRef")
    if not parent:
        return name_of(wire), NONE
    parts = (parent.get(name) for name in ("resource", "namespace", "name"))
    group = f".{parent['group']}" if parent.get("group") else ""
    resource, *place = (part or "" for part in parts)
    shown = "/".join(filter(None, [f"{resource}{group}", *place]))
    return name_of(wire), shown


# Upstream's rows have a third cell, the age, without a column: clients do not show it.
IP_ADDRESS = Columns((NAME, Column("ParentRef")), _ip_address)
