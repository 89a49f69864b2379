"""The downward API: fields of a Pod as text (fieldRef and resourceFieldRef). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from control.agent.pods.quality import amount
from control.api import container as api
from control.api.pod import Pod
from control.api.quantity import ZERO, Quantity, QuantityError, parse

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_ONE = Quantity(10**9)


class PodReferenceError(ValueError):
    """A Pod refers to something that does not exist.

    Kubernetes shows the text as CreateContainerConfigError.
    """


@dataclass(frozen=True, slots=True)
class Host:
    """The node's part of a Pod's fields."""

    name: str
    addresses: tuple[str, ...] = ()
    cpu: Quantity = ZERO  # all of it is allocatable
    memory: Quantity = ZERO  # of the machine
    seccomp_default: bool = False  # containers without a profile get RuntimeDefault
    allocatable_memory: Quantity = ZERO


def field(pod: Pod, path: str, host: Host, addresses: tuple[str, ...]) -> str:
    """Return one field of the Pod as text; raises PodReferenceError."""
    if match := _SUBSCRIPT.fullmatch(path):
        meta = pod.metadata
        source = meta.labels if match[1] == "labels" else meta.annotations
        return source.get(match[2], "")
    values = _fields(pod, host, addresses)
    if path not in values:
        raise PodReferenceError(f"unsupported fieldPath: {path}")
    return values[path]


def _fields(pod: Pod, host: Host, addresses: tuple[str, ...]) -> dict[str, str]:
    meta, spec = pod.metadata, pod.spec
    return {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace or "",
        "metadata.uid": meta.uid,
        "metadata.labels": _lines(meta.labels),
        "metadata.annotations": _lines(meta.annotations),
        "spec.nodeName": host.name,
        "spec.serviceAccountName": spec.service_account_name or "",
        "status.hostIP": host.addresses[0] if host.addresses else "",
        "status.hostIPs": ",".join(host.addresses),
        "status.podIP": addresses[0] if addresses else "",
        "status.podIPs": ",".join(addresses),
    }


def _lines(values: Mapping[str, str]) -> str:
    """Write labels as kubelet writes them into files: sorted, quoted as Go quotes."""
    return "\n".join(f'{key}="{_quote(value)}"' for key, value in sorted(values.items()))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def resource(pod: Pod, own: str, reference: api.ResourceFieldRef, host: Host) -> str:
    """Return a container's request or limit in units of the divisor, rounded up.

    A container without a limit may use the whole node: its limit is the node's allocatable amount.
    Raises PodReferenceError.
    """
    name = reference.container_name or own
    found = [
        container
        for container in (*pod.spec.containers, *pod.spec.init_containers)
        if container.name == name
    ]
    side, _, kind = reference.resource.partition(".")
    if not found or side not in ("limits", "requests") or kind not in ("cpu", "memory"):
        raise PodReferenceError(f"unsupported container resource: {name}: {reference.resource}")
    value = amount(found[0], side, kind)
    if value is None:
        whole = host.cpu if kind == "cpu" else host.allocatable_memory
        value = whole if side == "limits" else Quantity(0)
    return str(-(-value.nano // _divisor(reference).nano))


def _divisor(reference: api.ResourceFieldRef) -> Quantity:
    try:
        divisor = parse(reference.divisor) if reference.divisor else _ONE
    except QuantityError as err:
        raise PodReferenceError(f"divisor: {err}") from err
    return divisor if divisor.nano > 0 else _ONE
