"""The warnings of each kind. Pure.

Source: WarningsOnCreate and WarningsOnUpdate of the strategies in k8s.io/kubernetes/pkg/registry.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from control.api.component import COMPONENT_STATUS
from control.api.field import show
from control.api.kinds import ENDPOINTS, Kind
from control.api.validation.meta import OLD_FINALIZERS
from control.api.validation.text import dns_label
from control.api.warnings.pods import LABELS, VOLUMES, of_claim, of_node_terms, of_pod, of_template
from control.api.warnings.secrets import of_secret
from control.api.warnings.services import of_address, of_range, of_service

Wire = Mapping[str, Any]

_DEPRECATED: Mapping[Kind, str] = {
    ENDPOINTS: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    COMPONENT_STATUS: "v1 ComponentStatus is deprecated in v1.19+",
}
_CLASS = "kubernetes.io/ingress.class"
_IN_NAMES = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising"
    " behavior; a DNS label is recommended:"
)
_MANY_INDEXES = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than"
    " 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes"
    " fail"
)
_SLICES_BY = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_ENFORCED = "kubernetes.io/enforce-mountable-secrets"
_ENFORCED_OLD = (
    "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
)
_NOT_IN_SECRETS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to"
    " prevent possible logging of tokens in volume attributes"
)
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_OF_VOLUMES = {
    _OLD_CLASS: ('deprecated since v1.8; use "storageClassName" attribute instead'),
    "volume.beta.kubernetes.io/mount-options": (
        'deprecated since v1.31; use "mountOptions" attribute instead'
    ),
}
# The volumes of plugins that are no more, in the order in which upstream warns of them.
_OLD_VOLUMES = ("cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd")
_KEEPS_ALL = (
    "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0"
    " is recommended"
)
_RECYCLED = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the"
    " recommended approach is to use dynamic provisioning."
)


def deprecation(kind: Kind) -> str:
    """Return the warning of every request on a kind; empty for none."""
    if kind.custom is not None:
        return kind.custom.warning
    return _DEPRECATED.get(kind, "")


def warnings_of(kind: Kind, wire: Wire, old: Wire | None = None) -> tuple[str, ...]:
    """Return the warnings about a valid object that is written; ``old`` is None for a new one."""
    if kind.custom is not None:
        return tuple(_of_custom(wire, old or {}))
    found = _OF.get(kind.name)
    return tuple(found(wire)) if found else ()


def _of_custom(wire: Wire, old: Wire) -> Iterator[str]:
    """Yield the warnings about new finalizers of a custom kind whose names have no domain."""
    given = wire["metadata"].get("finalizers")
    if not given:
        return
    for name in sorted({*given} - {*(old.get("metadata", {}).get("finalizers") or ())}):
        if "/" not in name and name not in OLD_FINALIZERS:
            path = " including a path (/)" if "." in name else ""
            yield (
                f"metadata.finalizers: {show(name)}: prefer a domain-qualified finalizer name{path}"
                " to avoid accidental conflicts with other finalizer writers"
            )


def _of_named(wire: Wire) -> Iterator[str]:
    """Yield the warnings about a workload, and about a name that its Pods get."""
    yield from _of_names(wire)
    yield from _of_workload(wire)


def _of_workload(wire: Wire) -> Iterator[str]:
    yield from of_template("spec.template", wire.get("spec", {}).get("template", {}))


def _of_stateful_set(wire: Wire) -> Iterator[str]:
    spec = wire.get("spec", {})
    yield from _of_workload(wire)
    for at, claim in enumerate(spec.get("volumeClaimTemplates", ())):
        yield from of_claim(f"spec.volumeClaimTemplates[{at}]", claim.get("spec", {}))
    if spec.get("revisionHistoryLimit", 0) < 0:
        yield _KEEPS_ALL


def _of_job(wire: Wire) -> Iterator[str]:
    yield from _of_names(wire)
    yield from _of_indexes("spec", wire.get("spec", {}))
    yield from _of_workload(wire)


def _of_indexes(path: str, spec: Wire) -> Iterator[str]:
    """Yield that a Job has too many indexes for all of them to fail at a time."""
    if spec.get("completionMode") != "Indexed":
        return
    if (spec.get("completions") or 0) > 10**5 and (spec.get("parallelism") or 0) > 10**4:
        yield f"{path}: {_MANY_INDEXES}"


def _of_cron_job(wire: Wire) -> Iterator[str]:
    yield from _of_names(wire)
    spec = wire.get("spec", {}).get("jobTemplate", {}).get("spec", {})
    yield from _of_indexes("spec.jobTemplate.spec", spec)
    yield from of_template("spec.jobTemplate.spec.template", spec.get("template", {}))


def _of_names(wire: Wire) -> Iterator[str]:
    if wrong := dns_label(wire["metadata"].get("name", "")):
        yield f"{_IN_NAMES} [{' '.join(wrong)}]"


def _of_claim(wire: Wire) -> Iterator[str]:
    if _OLD_CLASS in (wire["metadata"].get("annotations") or {}):
        yield f"metadata.annotations[{_OLD_CLASS}]: {_OF_VOLUMES[_OLD_CLASS]}"
    yield from of_claim("spec", wire.get("spec", {}))


def _of_volume(wire: Wire) -> Iterator[str]:
    spec, annotations = wire.get("spec", {}), wire["metadata"].get("annotations") or {}
    for name, why in _OF_VOLUMES.items():
        if name in annotations:
            yield f"metadata.annotations[{name}]: {why}"
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield _RECYCLED
    terms = spec.get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", ())
    yield from of_node_terms("spec.nodeAffinity.required.nodeSelectorTerms", terms)
    for name in _OLD_VOLUMES:
        if name in spec:
            shown = "storageOS" if name == "storageos" else name
            yield f"spec.{shown}: {VOLUMES[name]}"


def _of_ingress(wire: Wire) -> Iterator[str]:
    annotated = _CLASS in (wire["metadata"].get("annotations") or {})
    if annotated and "ingressClassName" not in wire.get("spec", {}):
        yield f"annotation \"{_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


def _of_policy(wire: Wire) -> Iterator[str]:
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for at, rule in enumerate(wire.get("spec", {}).get(direction, ())):
            for place, peer in enumerate(rule.get(peers, ())):
                yield from _of_block(f"spec.{direction}[{at}].{peers}[{place}].ipBlock", peer)


def _of_block(path: str, peer: Wire) -> Iterator[str]:
    block = peer.get("ipBlock", {})
    if block:
        yield from of_range(f"{path}.cidr", block.get("cidr", ""))
    for at, part in enumerate(block.get("except", ())):
        yield from of_range(f"{path}.except[{at}]", part)


def _of_slice(wire: Wire) -> Iterator[str]:
    if wire.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    labels = wire["metadata"].get("labels") or {}
    if labels.get("endpointslice.kubernetes.io/managed-by") in _SLICES_BY:
        return  # they write addresses as they should be
    for at, endpoint in enumerate(wire.get("endpoints") or ()):
        for place, address in enumerate(endpoint.get("addresses") or ()):
            yield from of_address(f"endpoints[{at}].addresses[{place}]", address)


def _of_endpoints(wire: Wire) -> Iterator[str]:
    labels = wire["metadata"].get("labels") or {}
    if labels.get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return
    for at, subset in enumerate(wire.get("subsets") or ()):
        for name in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(name) or ()):
                path = f"subsets[{at}].{name}[{place}].ip"
                yield from of_address(path, address.get("ip", ""))


def _of_account(wire: Wire) -> Iterator[str]:
    if _ENFORCED in (wire["metadata"].get("annotations") or {}):
        yield f"metadata.annotations[{_ENFORCED}]: {_ENFORCED_OLD}"


def _of_driver(wire: Wire) -> Iterator[str]:
    spec = wire.get("spec", {})
    if spec.get("tokenRequests") and "serviceAccountTokenInSecrets" not in spec:
        yield _NOT_IN_SECRETS


def _of_capacity(wire: Wire) -> Iterator[str]:
    topology = wire.get("nodeTopology") or {}
    for at, wanted in enumerate(topology.get("matchExpressions") or ()):
        if (key := wanted.get("key")) in LABELS:
            yield f"nodeTopology.matchExpressions[{at}].key: {key} is {LABELS[key]}"
    for key in topology.get("matchLabels") or ():
        if key in LABELS:
            yield f"nodeTopology.matchLabels.{key}: {LABELS[key]}"


def _of_devices(wire: Wire) -> Iterator[str]:
    driver = wire.get("spec", {}).get("driver", "")
    if driver != driver.lower():
        yield (
            "spec.driver: driver names should be lowercase;"
            f" {show(driver)} contains uppercase characters"
        )


def _of_node(wire: Wire) -> Iterator[str]:
    spec = wire.get("spec", {})
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    for at, cidr in enumerate(spec.get("podCIDRs", ())):
        yield from of_range(f"spec.podCIDRs[{at}]", cidr)


def _of_runtime_class(wire: Wire) -> Iterator[str]:
    for key in wire.get("scheduling", {}).get("nodeSelector", ()):
        if key in LABELS:
            yield f"scheduling.nodeSelector: {LABELS[key]}"


def _of_storage_class(wire: Wire) -> Iterator[str]:
    for at, term in enumerate(wire.get("allowedTopologies", ())):
        for place, wanted in enumerate(term.get("matchLabelExpressions", ())):
            if (key := wanted.get("key")) in LABELS:
                path = f"allowedTopologies[{at}].matchLabelExpressions[{place}].key"
                yield f"{path}: {LABELS[key]}"


_OF: Mapping[str, Callable[[Wire], Iterator[str]]] = {
    "Service": of_service,
    "Pod": of_pod,
    "PodTemplate": lambda wire: of_template("template", wire.get("template", {})),
    "Deployment": _of_named,
    "DaemonSet": _of_workload,
    "ReplicaSet": _of_named,
    "ReplicationController": _of_named,
    "StatefulSet": _of_stateful_set,
    "Job": _of_job,
    "Secret": of_secret,
    "ServiceAccount": _of_account,
    "Endpoints": _of_endpoints,
    "CSIDriver": _of_driver,
    "CSIStorageCapacity": _of_capacity,
    "ResourceSlice": _of_devices,
    "CronJob": _of_cron_job,
    "PersistentVolumeClaim": _of_claim,
    "PersistentVolume": _of_volume,
    "Ingress": _of_ingress,
    "NetworkPolicy": _of_policy,
    "EndpointSlice": _of_slice,
    "Node": _of_node,
    "RuntimeClass": _of_runtime_class,
    "StorageClass": _of_storage_class,
}
