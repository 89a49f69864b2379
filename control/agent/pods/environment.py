"""A container's environment variables: from the Pod, ConfigMaps, Secrets and Services. Pure.

Sources: kubelet's makeEnvironmentVariables; kubernetes.io "Define Dependent Environment Variables"
and "Accessing the Service".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control.agent.pods.fields import Host, PodReferenceError
from control.agent.pods.fields import field as pod_field
from control.agent.pods.fields import resource as pod_resource
from control.api import container as api
from control.api.pod import Pod
from control.api.service import Service

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_MASTER = ("default", "kubernetes")


@dataclass(frozen=True, slots=True)
class Sources:
    """The data of the objects that a Pod refers to; absent objects are left out."""

    # (kind, name) -> key -> value
    data: Mapping[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)
    services: tuple[Service, ...] = ()

    def get(self, kind: str, name: str, optional: bool | None) -> Mapping[str, bytes] | None:
        """Return an object's data; None if it is optional and absent. Raises PodReferenceError."""
        found = self.data.get((kind, name))
        if found is None and not optional:
            raise PodReferenceError(f'{kind.lower()} "{name}" not found')
        return found


def references(pod: Pod) -> frozenset[tuple[str, str]]:
    """Return (kind, name) of every ConfigMap and Secret that the containers' variables need."""
    found: set[tuple[str, str]] = set()
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for bulk in container.env_from:
            found |= {("ConfigMap", bulk.config_map_ref.name)} if bulk.config_map_ref else set()
            found |= {("Secret", bulk.secret_ref.name)} if bulk.secret_ref else set()
        for source in (item.value_from for item in container.env if item.value_from):
            if source.config_map_key_ref:
                found.add(("ConfigMap", source.config_map_key_ref.name))
            if source.secret_key_ref:
                found.add(("Secret", source.secret_key_ref.name))
    return frozenset(found)


def variables(
    pod: Pod, spec: api.Container, sources: Sources, host: Host, addresses: tuple[str, ...]
) -> dict[str, str]:
    """Return all variables of a container; of one name env wins, then envFrom, then Services.

    Raises PodReferenceError.
    """
    services = service_variables(pod, sources.services)
    values = dict(services)
    for bulk in spec.env_from:
        values |= _bulk(bulk, sources)
    for item in spec.env:
        if item.value_from is None:
            values[item.name] = expand(item.value or "", values)
            continue
        value = _value_from(pod, spec, item.value_from, sources, host, addresses)
        if value is not None:
            values[item.name] = value
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` where NAME is known, and ``$$`` by a dollar sign."""

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else values.get(name, match[0])

    return _REFERENCE.sub(replaced, text)


def _bulk(bulk: api.EnvFromSource, sources: Sources) -> dict[str, str]:
    kind, source = (
        ("ConfigMap", bulk.config_map_ref) if bulk.config_map_ref else ("Secret", bulk.secret_ref)
    )
    if source is None:
        return {}
    data = sources.get(kind, source.name, source.optional) or {}
    return {f"{bulk.prefix or ''}{key}": _text(value) for key, value in data.items()}


def _value_from(
    pod: Pod,
    spec: api.Container,
    source: api.EnvVarSource,
    sources: Sources,
    host: Host,
    addresses: tuple[str, ...],
) -> str | None:
    if source.field_ref:
        return pod_field(pod, source.field_ref.field_path, host, addresses)
    if source.resource_field_ref:
        return pod_resource(pod, spec.name, source.resource_field_ref, host)
    if source.config_map_key_ref:
        return _key(pod, "ConfigMap", source.config_map_key_ref, sources)
    if source.secret_key_ref:
        return _key(pod, "Secret", source.secret_key_ref, sources)
    return None


def _key(pod: Pod, kind: str, selector: api.KeySelector, sources: Sources) -> str | None:
    data = sources.get(kind, selector.name, selector.optional)
    if data is None or selector.key not in data:
        if selector.optional:
            return None
        where = f"{kind} {pod.metadata.namespace}/{selector.name}"
        raise PodReferenceError(f"couldn't find key {selector.key} in {where}")
    return _text(data[selector.key])


def _text(value: bytes) -> str:
    return value.decode(errors="replace").replace("\0", "")


def service_variables(pod: Pod, services: Iterable[Service]) -> dict[str, str]:
    """Return FOO_SERVICE_HOST and the like.

    For the Service ``kubernetes`` and, unless enableServiceLinks is false, for all Services of the
    Pod's namespace.
    """
    values: dict[str, str] = {}
    linked = pod.spec.enable_service_links is not False
    for service in sorted(services, key=lambda service: service.key):
        address = service.spec.cluster_ip
        wanted = service.key == _MASTER or (
            linked and service.metadata.namespace == pod.metadata.namespace
        )
        if wanted and address and address != "None" and service.spec.ports:
            values |= _links(service, address)
    return values


def _links(service: Service, address: str) -> dict[str, str]:
    prefix = service.metadata.name.upper().replace("-", "_")
    ports = service.spec.ports
    shown = f"[{address}]" if ":" in address else address
    values = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    first = ports[0]
    values[f"{prefix}_PORT"] = f"{first.protocol.lower()}://{shown}:{first.port}"
    for port in ports:
        if port.name:
            name = port.name.upper().replace("-", "_")
            values[f"{prefix}_SERVICE_PORT_{name}"] = str(port.port)
        link = f"{prefix}_PORT_{port.port}_{port.protocol}"
        values |= {
            link: f"{port.protocol.lower()}://{shown}:{port.port}",
            f"{link}_PROTO": port.protocol.lower(),
            f"{link}_PORT": str(port.port),
            f"{link}_ADDR": address,
        }
    return values
