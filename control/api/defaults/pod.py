"""Defaults of Pods and of Pod templates. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go, as described field by field in
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from functools import partial
from typing import Any

from control.api.amounts import Amounts, add, own
from control.api.defaults.edit import Wire, filled, within, within_each
from control.api.defaults.own_labels import with_own_labels
from control.api.defaults.whole import with_whole_amounts

_MODE = 0o644
_COMPUTE = {"cpu", "memory"}
_TOKEN_SECONDS = 3600
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SPEC = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "terminationGracePeriodSeconds": 30,
    "schedulerName": "default-scheduler",
}
_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}
_CONTAINER = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def default_pod(pod: Wire) -> Wire:
    """Set a Pod's defaults: those of a template, service links, and requests from limits.

    As upstream, a negative grace period is one second.
    """
    spec = default_spec(pod.get("spec", {}))
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    spec = filled(spec, {"enableServiceLinks": True})
    for name in ("containers", "initContainers"):
        spec = within_each(spec, name, _requests_from_limits)
    return pod | {"spec": with_whole_amounts(spec)}


def begin_pod(pod: Wire) -> Wire:
    """Set the initial status: phase Pending, and the quality of service, which never changes.

    A Pod with scheduling gates says so, and rules by the Pod's own labels name them.
    """
    spec = pod.get("spec", {})
    status: Wire = {"phase": "Pending", "qosClass": quality_of_service(spec)}
    if spec.get("schedulingGates"):
        since = pod["metadata"].get("creationTimestamp")
        status["conditions"] = [_GATED | {"lastTransitionTime": since}]
    return with_own_labels(pod) | {"status": status}


def quality_of_service(spec: Wire) -> str:
    """Return the QoS class: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/

    What a Pod asks for as a whole (KEP-2837) counts instead of its containers' amounts.
    """
    holders = [spec] if spec.get("resources") is not None else _containers(spec)
    pairs = [(_counted(own(it, "requests")), _counted(own(it, "limits"))) for it in holders]
    requests, limits = Amounts(), Amounts()
    for asked, most in pairs:
        add(requests, asked)
        add(limits, most)
    if not requests and not limits:
        return "BestEffort"
    limited = all(most.keys() >= _COMPUTE for _, most in pairs)
    return "Guaranteed" if limited and requests == limits else "Burstable"


def _containers(spec: Wire) -> list[Wire]:
    return [*spec.get("containers", ()), *spec.get("initContainers", ())]


def _counted(amounts: Amounts) -> Amounts:
    return {n: amount for n, amount in amounts.items() if n in _COMPUTE and amount.nano > 0}


def default_template(template: Wire) -> Wire:
    """Set the defaults of a Pod template."""
    return template | {"spec": default_spec(template.get("spec", {}))}


def default_spec(spec: Wire) -> Wire:
    """Set the defaults of a Pod's spec."""
    spec = filled(spec, _SPEC | {"securityContext": {}})
    container = partial(_container, host_network=bool(spec.get("hostNetwork")))
    for name in ("containers", "initContainers", "ephemeralContainers"):
        spec = within_each(spec, name, container)
    return within_each(spec, "volumes", _volume)


def _container(container: Wire, *, host_network: bool) -> Wire:
    policy = _pull_policy(container.get("image", ""))
    made = filled(container, _CONTAINER | {"imagePullPolicy": policy, "resources": {}})
    made = within_each(made, "ports", partial(_port, host_network=host_network))
    made = within_each(made, "env", _variable)
    made = within(made, "lifecycle", _lifecycle)
    for name in _PROBES:
        made = within(made, name, _probe)
    return made


def _pull_policy(image: str) -> str:
    return "Always" if _is_latest(image) else "IfNotPresent"


def _is_latest(image: str) -> bool:
    """Return True if an image has no digest, and no tag or the tag ``latest``."""
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _port(port: Wire, *, host_network: bool) -> Wire:
    made = filled(port, {"protocol": "TCP"})
    if host_network and "containerPort" in port:
        made = filled(made, {"hostPort": port["containerPort"]})
    return made


def _variable(variable: Wire) -> Wire:
    return within(variable, "valueFrom", _field_ref)


def _field_ref(source: Wire) -> Wire:
    return within(source, "fieldRef", lambda ref: filled(ref, {"apiVersion": "v1"}))


def _probe(probe: Wire) -> Wire:
    made = probe | {key: value for key, value in _PROBE.items() if not probe.get(key)}
    return within(within(made, "httpGet", _http), "grpc", lambda grpc: {"service": ""} | grpc)


def _http(action: Wire) -> Wire:
    return filled(action, {"path": "/", "scheme": "HTTP"})


def _lifecycle(lifecycle: Wire) -> Wire:
    for name in ("postStart", "preStop"):
        lifecycle = within(lifecycle, name, lambda handler: within(handler, "httpGet", _http))
    return lifecycle


def _requests_from_limits(container: Wire) -> Wire:
    """Set each absent request to the limit."""
    resources = container.get("resources", {})
    if "limits" not in resources:
        return container
    requests = resources["limits"] | resources.get("requests", {})
    return container | {"resources": resources | {"requests": requests}}


# The defaults of volumes from old plugins: pkg/apis/core/v1/defaults.go.
_OLD_SOURCES: dict[str, Wire] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
    "azureDisk": {
        "cachingMode": "ReadWrite",
        "kind": "Shared",
        "fsType": "ext4",
        "readOnly": False,
    },
}


def default_source(volume: Wire) -> Wire:
    """Set the defaults of a volume's source that Pods and PersistentVolumes have in common."""
    for name in _OLD_SOURCES.keys() & volume.keys():
        if isinstance(volume[name], dict):
            volume = volume | {name: filled(volume[name], _OLD_SOURCES[name])}
    return within(volume, "hostPath", lambda path: {"type": ""} | path)


def _volume(volume: Wire) -> Wire:
    if not volume.keys() - {"name"}:
        return volume | {"emptyDir": {}}
    for source in ("secret", "configMap"):
        volume = within(volume, source, _with_mode)
    volume = default_source(volume)
    volume = within(volume, "image", _image)
    volume = within(volume, "ephemeral", _ephemeral)
    volume = within(volume, "downwardAPI", lambda source: _with_mode(_downward(source)))
    return within(volume, "projected", _projected)


def _ephemeral(source: Wire) -> Wire:
    claim = {"volumeMode": "Filesystem"}
    return within(
        source,
        "volumeClaimTemplate",
        lambda template: within(template, "spec", lambda spec: filled(spec, claim)),
    )


def _image(source: Wire) -> Wire:
    return filled(source, {"pullPolicy": _pull_policy(source.get("reference", ""))})


def _with_mode(source: Wire) -> Wire:
    return {"defaultMode": _MODE} | source


def _downward(source: Wire) -> Wire:
    return within_each(source, "items", _field_ref)


def _projected(projected: Wire) -> Wire:
    return within_each(_with_mode(projected), "sources", _projection)


def _projection(source: Wire) -> Wire:
    source = within(source, "serviceAccountToken", _token)
    return within(source, "downwardAPI", _downward)


def _token(token: Wire) -> dict[str, Any]:
    return {"expirationSeconds": _TOKEN_SECONDS} | token
