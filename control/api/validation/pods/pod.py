"""Validate Pods, and the Pod spec of templates. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.pod import Pod, PodSpec
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_annotations, validate_labels
from control.api.validation.pods.affinity import validate_affinity
from control.api.validation.pods.annotations import (
    validate_pod_annotations,
    validate_profile_annotations,
    validate_profile_changes,
)
from control.api.validation.pods.container import (
    validate_containers,
    validate_images,
    validate_init_container,
)
from control.api.validation.pods.context import context_of
from control.api.validation.pods.ephemeral import validate_ephemeral
from control.api.validation.pods.gated import validate_gates
from control.api.validation.pods.placement import validate_spreading, validate_tolerations
from control.api.validation.pods.resources import (
    validate_overhead,
    validate_pod_claims,
    validate_pod_resources,
)
from control.api.validation.pods.settings import validate_settings
from control.api.validation.pods.sums import validate_sums
from control.api.validation.pods.volume import validate_volumes
from control.api.workload import PodTemplateSpec

_RESTART = ("Always", "Never", "OnFailure")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PREEMPTION = ("Never", "PreemptLowerPriority")
_SAME_CONTAINERS = "pod updates may not add or remove containers"
_FREE = {"tolerations", "activeDeadlineSeconds", "schedulingGates"}
_FREE_GATED = {"nodeSelector", "affinity"}
_ONLY = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only"
    " additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set"
    " to 1 if it was previously negative)"
)


def validate_pod(pod: Pod) -> list[FieldError]:
    """Check a Pod."""
    spec, meta = pod.spec, pod.metadata
    found = validate_spec("spec", spec, meta.name)
    if meta.annotations:
        found += validate_pod_annotations("metadata.annotations", meta.annotations, spec)
    found += validate_images("spec.containers", spec.containers)
    found += validate_images("spec.initContainers", spec.init_containers)
    return found


def validate_template_meta(path: str, template: PodTemplateSpec) -> list[FieldError]:
    """Check the labels and annotations of Pods' template, and nothing of their spec."""
    meta, own = template.metadata, f"{path}.annotations"
    found = validate_labels(f"{path}.labels", meta.labels)
    if meta.annotations:
        found += validate_annotations(own, meta.annotations)
        found += validate_pod_annotations(own, meta.annotations, template.spec)
    return found


def validate_template(path: str, template: PodTemplateSpec) -> list[FieldError]:
    """Check the template of Pods; upstream's paths leave out ``metadata`` here."""
    meta, spec = template.metadata, template.spec
    found = validate_template_meta(path, template)
    if meta.annotations:
        found += validate_profile_annotations(f"{path}.spec", meta.annotations, spec)
    found += validate_spec(f"{path}.spec", spec)
    if spec.ephemeral_containers:
        why = "ephemeral containers not allowed in pod template"
        found.append(field.forbidden(f"{path}.spec.ephemeralContainers", why))
    return found


def validate_new_pod(pod: Pod) -> list[FieldError]:
    """Check what only a new Pod may not have: ephemeral containers are added to running ones."""
    found = []
    if pod.spec.ephemeral_containers:
        found.append(field.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if pod.spec.node_name and pod.spec.scheduling_gates:
        why = "cannot be set until all schedulingGates have been cleared"
        found.append(field.forbidden("spec.nodeName", why))
    return found + validate_profile_annotations("spec", pod.metadata.annotations, pod.spec)


def validate_pod_status(pod: Pod) -> list[FieldError]:
    """Check the addresses in a Pod's status."""
    found, status = list[FieldError](), pod.status
    own = [each.ip for each in status.pod_ips] or list(filter(None, [status.pod_ip]))
    for name, addresses in (("podIPs", own), ("hostIPs", [each.ip for each in status.host_ips])):
        for at, address in enumerate(addresses):
            found += invalid_each(f"status.{name}[{at}]", address, text.ip(address))
    if not found:
        found += _families(own)
    if pod.status.nominated_node_name:
        name = pod.status.nominated_node_name
        found += invalid_each("status.nominatedNodeName", name, text.dns_subdomain(name))
    return found


def _families(addresses: list[str]) -> list[FieldError]:
    """Check that a Pod has one valid address of each family, at most."""
    if len({ip_address(each).version for each in addresses}) == len(addresses):
        return []
    why = "may specify no more than one IP for each IP family"
    return [field.invalid("status.podIPs", [{"IP": each} for each in addresses], why)]


def validate_spec(path: str, spec: PodSpec, pod: str = "") -> list[FieldError]:
    """Check the spec of a template, or of a Pod with the name ``pod``."""
    context = context_of(spec)
    names: set[str] = set()
    found = validate_volumes(f"{path}.volumes", spec.volumes, pod) if spec.volumes else []
    if not spec.containers:
        found.append(field.required(f"{path}.containers"))
    if spec.resource_claims:
        found += validate_pod_claims(f"{path}.resourceClaims", spec.resource_claims)
    found += validate_containers(f"{path}.containers", spec.containers, context, names)
    found += validate_containers(f"{path}.initContainers", spec.init_containers, context, names)
    if spec.ephemeral_containers:
        found += validate_ephemeral(f"{path}.ephemeralContainers", spec, context, names)
    for at, container in enumerate(spec.init_containers):
        found += validate_init_container(f"{path}.initContainers[{at}]", container)
    found += _choices(path, spec)
    found += _numbers(path, spec)
    found += _names(path, spec)
    found += validate_settings(path, spec)
    found += validate_labels(f"{path}.nodeSelector", spec.node_selector)
    found += validate_tolerations(f"{path}.tolerations", spec.tolerations)
    found += validate_affinity(f"{path}.affinity", spec.affinity)
    found += validate_spreading(
        f"{path}.topologySpreadConstraints", spec.topology_spread_constraints
    )
    if spec.resources:
        found += validate_pod_resources(f"{path}.resources", spec.resources)
        found += validate_sums(f"{path}.resources", spec, spec.resources)
    if spec.overhead:
        found += validate_overhead(f"{path}.overhead", spec.overhead)
    return found + list(_host_ports(path, spec))


def _choices(path: str, spec: PodSpec) -> list[FieldError]:
    found = []
    if not spec.restart_policy:
        found.append(field.required(f"{path}.restartPolicy"))
    elif spec.restart_policy not in _RESTART:
        found.append(field.not_supported(f"{path}.restartPolicy", spec.restart_policy, _RESTART))
    if spec.dns_policy not in _DNS:
        found.append(field.not_supported(f"{path}.dnsPolicy", spec.dns_policy, _DNS))
    if spec.dns_policy == "None" and not spec.dns_config:
        why = "must provide `dnsConfig` when `dnsPolicy` is None"
        found.append(field.required(f"{path}.dnsConfig", why))
    elif spec.dns_policy == "None" and spec.dns_config and not spec.dns_config.nameservers:
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(field.required(f"{path}.dnsConfig.nameservers", why))
    policy = spec.preemption_policy
    if policy is not None and policy not in _PREEMPTION:
        found.append(field.not_supported(f"{path}.preemptionPolicy", policy, _PREEMPTION))
    return found


def _numbers(path: str, spec: PodSpec) -> list[FieldError]:
    found = []
    grace, deadline = spec.termination_grace_period_seconds, spec.active_deadline_seconds
    if grace is None:
        found.append(field.required(f"{path}.terminationGracePeriodSeconds"))
    if deadline is not None:
        messages = text.in_range(deadline, 1, 2**31 - 1)
        found += invalid_each(f"{path}.activeDeadlineSeconds", deadline, messages)
    return found


def _names(path: str, spec: PodSpec) -> list[FieldError]:
    checks = {
        "hostname": (spec.hostname, text.dns_label),
        "subdomain": (spec.subdomain, text.dns_label),
        "nodeName": (spec.node_name, text.dns_subdomain),
        "serviceAccountName": (spec.service_account_name, text.dns_subdomain),
        "priorityClassName": (spec.priority_class_name, text.dns_subdomain),
    }
    found = []
    for name, (value, check) in checks.items():
        if value:
            found += invalid_each(f"{path}.{name}", value, check(value))
    for at, alias in enumerate(spec.host_aliases):
        found += invalid_each(f"{path}.hostAliases[{at}].ip", alias.ip, text.ip(alias.ip))
        for number, name in enumerate(alias.hostnames):
            where = f"{path}.hostAliases[{at}].hostnames[{number}]"
            found += invalid_each(where, name, text.dns_subdomain(name))
    return found


def _host_ports(path: str, spec: PodSpec) -> Iterator[FieldError]:
    """Yield errors for host ports that are used twice, or that differ under hostNetwork."""
    seen: set[tuple[str, str, int]] = set()
    for at, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            own = f"{path}.containers[{at}].ports[{number}]"
            if spec.host_network and port.host_port != port.container_port:
                why = "must match `containerPort` when `hostNetwork` is true"
                yield field.invalid(f"{own}.hostPort", port.host_port or 0, why)
            if not port.host_port:
                continue
            key = (port.protocol, port.host_ip or "", port.host_port)
            if key in seen:
                yield field.duplicate(f"{own}.hostPort", f"{key[0]}/{key[1]}/{key[2]}")
            seen.add(key)


def validate_pod_update(new: Pod, old: Pod) -> list[FieldError]:
    """Refuse all changes of a Pod except images, a shorter deadline and more tolerations."""
    found = validate_profile_changes(new.metadata.annotations, old.metadata.annotations)
    if added := _added(new.spec, old.spec):
        return [*found, field.forbidden(f"spec.{added}", _SAME_CONTAINERS)]
    if old.spec.active_deadline_seconds is not None:
        found += _deadline(new.spec, old.spec.active_deadline_seconds)
    if not _untimed(old.spec) <= _untimed(new.spec):
        why = "existing toleration can not be modified except its tolerationSeconds"
        found.append(field.forbidden("spec.tolerations", why))
    found += validate_gates(new.spec, old.spec)
    is_gated = bool(old.spec.scheduling_gates)
    before, after = _fixed(old.spec, is_gated), _fixed(new.spec, is_gated)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        fields = ", ".join(f"spec.{name}" for name in changed)
        found.append(field.forbidden("spec", f"{_ONLY}\nchanged: {fields}"))
    return found


def _added(new: PodSpec, old: PodSpec) -> str:
    """Return the field of the containers that have become more or fewer."""
    if len(new.containers) != len(old.containers):
        return "containers"
    return "initContainers" if len(new.init_containers) != len(old.init_containers) else ""


def _untimed(spec: PodSpec) -> set[tuple[str, str, str, str]]:
    """Return the tolerations without their seconds, which may change."""
    return {
        (item.key or "", item.operator or "", item.value or "", item.effect or "")
        for item in spec.tolerations
    }


def _deadline(new: PodSpec, old: int) -> list[FieldError]:
    path, now = "spec.activeDeadlineSeconds", new.active_deadline_seconds
    if now is None:
        return [field.invalid(path, None, "must not update from a positive integer to nil value")]
    if now > old:
        why = f"must be less than or equal to previous value {old}"
        return [field.invalid(path, now, why)]
    return []


def _fixed(spec: PodSpec, is_gated: bool) -> Mapping[str, Any]:
    """Return the part of a spec that may not change; a gated Pod's nodes may be narrowed."""
    free = _FREE | _FREE_GATED if is_gated else _FREE
    wire = {key: value for key, value in spec.wire().items() if key not in free}
    if is_gated:
        pods = {k: v for k, v in spec.wire().get("affinity", {}).items() if k != "nodeAffinity"}
        wire |= {"affinity": pods} if pods else {}
    for name in ("containers", "initContainers"):
        if name in wire:
            wire[name] = [_without_image(container) for container in wire[name]]
    return wire


def _without_image(container: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key != "image"}
