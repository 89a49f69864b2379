"""What is warned of in Pods and in templates of Pods. Pure.

Source: k8s.io/kubernetes/pkg/api/pod/warnings.go, pkg/api/node/util.go
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from control.api.quantity import QuantityError, parse
from control.api.validation.text import dns_label, label_value
from control.api.warnings.paths import of_paths
from control.api.warnings.services import of_address

Wire = Mapping[str, Any]

LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": (
        'deprecated since v1.17; use "topology.kubernetes.io/region" instead'
    ),
    "failure-domain.beta.kubernetes.io/zone": (
        'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
    ),
    "beta.kubernetes.io/instance-type": (
        'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead'
    ),
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": (
        "deprecated since v1.22; use Taints and Tolerations instead"
    ),
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
    "security.alpha.kubernetes.io/unsafe-sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_GONE = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_APPARMOR_OLD = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_IN_ORDER = ("initContainers", "containers", "ephemeralContainers")
_GONE = "deprecated in v1.22, non-functional in v1.25+"
VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": _GONE,
    "storageos": _GONE,
    "quobyte": _GONE,
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_IN_HOST_NAME = (
    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior;"
    " a DNS label is recommended:"
)
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_NEGATIVE = "must be >= 0; negative values are invalid and will be treated as 1"
_BYTES = ("memory", "ephemeral-storage")
_KINDS = ("containers", "initContainers", "ephemeralContainers")
# The fields of a port as Go prints them: (name, key, what is shown without it).
_SHOWN = (
    ("Name", "name", ""),
    ("HostPort", "hostPort", 0),
    ("ContainerPort", "containerPort", 0),
    ("Protocol", "protocol", ""),
    ("HostIP", "hostIP", ""),
)
_COMPARED = 16  # ports of one number, so that a Pod with very many costs no square of them
Port = tuple[str, Wire]  # (path, port)


def of_pod(wire: Wire) -> Iterator[str]:
    """Yield the warnings about a Pod."""
    if wrong := dns_label(wire["metadata"].get("name", "")):
        yield f"{_IN_HOST_NAME} [{' '.join(wrong)}]"
    yield from of_template("", wire)


def of_template(path: str, template: Wire) -> Iterator[str]:
    """Yield the warnings about a template of Pods; for a Pod itself, ``path`` is empty."""
    before = f"{path}." if path else ""
    spec, own = template.get("spec", {}), f"{before}spec"
    yield from _of_labels(own, spec)
    annotations = template.get("metadata", {}).get("annotations") or {}
    for name, why in _ANNOTATIONS.items():
        if name in annotations:
            yield f"{before}metadata.annotations[{name}]: {why}"
    for at, volume in enumerate(spec.get("volumes", ())):
        yield from _of_volume(f"{own}.volumes[{at}]", volume)
    for volume in spec.get("volumes", ()):
        yield from of_paths(volume)
    yield from _repeated(f"{own}.hostAliases", spec.get("hostAliases", ()), "ip")
    secrets = spec.get("imagePullSecrets", ())
    yield from _repeated(f"{own}.imagePullSecrets", secrets, "name")
    for at, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{own}.imagePullSecrets[{at}].name: invalid empty name ""'
    yield from _fractions(f"{own}.overhead", spec.get("overhead", {}))
    yield from _of_profiles(before, annotations, spec)
    yield from _of_containers(own, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield f"{own}.terminationGracePeriodSeconds: {_NEGATIVE}"
    yield from _of_affinity(f"{own}.affinity", spec.get("affinity", {}))
    yield from _of_addresses(own, spec)


def _of_profiles(before: str, annotations: Wire, spec: Wire) -> Iterator[str]:
    """Yield the annotations that fields have replaced, where there is no such field."""
    if not annotations:
        return
    own, context = f"{before}metadata.annotations", spec.get("securityContext") or {}
    if _SECCOMP_POD in annotations and not context.get("seccompProfile"):
        yield f"{own}[{_SECCOMP_POD}]: {_SECCOMP_GONE}"
    for kind in _IN_ORDER:
        for container in spec.get(kind, ()):
            inner, name = container.get("securityContext") or {}, container.get("name", "")
            if _SECCOMP + name in annotations and not inner.get("seccompProfile"):
                yield f"{own}[{_SECCOMP + name}]: {_SECCOMP_GONE}"
            if _APPARMOR + name not in annotations or inner.get("appArmorProfile"):
                continue
            if context.get("appArmorProfile") != _profile(annotations[_APPARMOR + name]):
                yield f"{own}[{_APPARMOR + name}]: {_APPARMOR_OLD}"


def _profile(annotation: str) -> Wire | None:
    """Return the field that says the same as an annotation about AppArmor."""
    if annotation == "unconfined":
        return {"type": "Unconfined"}
    if annotation == "runtime/default":
        return {"type": "RuntimeDefault"}
    profile = annotation.removeprefix("localhost/")
    named = profile != annotation and profile
    return {"type": "Localhost", "localhostProfile": profile} if named else {}


def _of_labels(path: str, spec: Wire) -> Iterator[str]:
    """Yield what is deprecated in the labels of nodes that a Pod asks for."""
    for key in spec.get("nodeSelector", ()):
        if key in LABELS:
            yield f"{path}.nodeSelector[{key}]: {LABELS[key]}"
    nodes, own = spec.get("affinity", {}).get("nodeAffinity", {}), f"{path}.affinity.nodeAffinity"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = nodes.get(required, {}).get("nodeSelectorTerms", ())
    yield from of_node_terms(f"{own}.{required}.nodeSelectorTerms", terms)
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    for at, term in enumerate(nodes.get(preferred, ())):
        place = f"{own}.{preferred}[{at}].preference"
        yield from _of_node_term(place, term.get("preference", {}), values=True)
    for at, spread in enumerate(spec.get("topologySpreadConstraints", ())):
        place, key = f"{path}.topologySpreadConstraints[{at}]", spread.get("topologyKey", "")
        if key in LABELS:
            yield f"{place}.topologyKey: {key} is {LABELS[key]}"
        if "labelSelector" not in spread:
            yield f"{place}.labelSelector: {_NO_SELECTOR}"


def of_node_terms(path: str, terms: Iterable[Wire]) -> Iterator[str]:
    """Yield what is deprecated in terms that select nodes."""
    for at, term in enumerate(terms):
        yield from _of_node_term(f"{path}[{at}]", term, values=False)


def _of_node_term(path: str, term: Wire, *, values: bool) -> Iterator[str]:
    for at, expression in enumerate(term.get("matchExpressions", ())):
        own, key = f"{path}.matchExpressions[{at}]", expression.get("key", "")
        if key in LABELS:
            yield f"{own}.key: {key} is {LABELS[key]}"
        for place, value in enumerate(expression.get("values", ()) if values else ()):
            for why in label_value(value):
                yield f"{own}.values[{place}]: {value} is invalid, {why}"


def _of_volume(path: str, volume: Wire) -> Iterator[str]:
    for name, why in VOLUMES.items():
        if name in volume:
            yield f"{path}.{'storageOS' if name == 'storageos' else name}: {why}"
    template = volume.get("ephemeral", {}).get("volumeClaimTemplate", {})
    if template:
        yield from of_claim(f"{path}.ephemeral.volumeClaimTemplate.spec", template.get("spec", {}))


def of_claim(path: str, spec: Wire) -> Iterator[str]:
    """Yield the warnings about the spec of a claim."""
    for part in ("requests", "limits"):
        amounts = spec.get("resources", {}).get(part, {})
        yield from _fractions(f"{path}.resources.{part}", amounts, ("storage",))


def _repeated(path: str, items: Iterable[Wire], name: str) -> Iterator[str]:
    seen: set[str] = set()
    for at, item in enumerate(items):
        value = item.get(name, "")
        if value in seen:
            yield f'{path}[{at}].{name}: duplicate {name} "{value}"'
        seen.add(value)


def _fractions(path: str, amounts: Wire, names: Iterable[str] = _BYTES) -> Iterator[str]:
    """Yield the amounts that are no whole number of bytes."""
    for name in names:
        try:
            amount = parse(amounts.get(name, 0))
        except QuantityError:
            continue
        if amount.nano % 10**9:
            yield f'{path}[{name}]: fractional byte value "{amount}" is invalid, must be an integer'


def _of_containers(path: str, spec: Wire) -> Iterator[str]:
    containers = [
        (f"{path}.{kind}[{at}]", container)
        for kind in _KINDS
        for at, container in enumerate(spec.get(kind, ()))
    ]
    for own, container in containers:
        for name in _BYTES:
            for part in ("limits", "requests"):
                amounts = container.get("resources", {}).get(part, {})
                yield from _fractions(f"{own}.resources.{part}", amounts, (name,))
        yield from _hidden(f"{own}.env", container.get("env", ()))
    ports = [
        (f"{own}.ports[{at}]", port)
        for own, container in containers
        for at, port in enumerate(container.get("ports", ()))
    ]
    yield from _overlapping(ports)
    yield from _same_names(ports)


def _hidden(path: str, variables: Iterable[Wire]) -> Iterator[str]:
    seen: set[str] = set()
    for at, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        if name in seen and (
            "valueFrom" in variable or value == reference or reference not in value
        ):
            why = f'hides previous definition of "{name}", which may be dropped when using apply'
            yield f"{path}[{at}]: {why}"
        seen.add(name)


def _overlapping(ports: Iterable[Port]) -> Iterator[str]:
    """Yield the ports that name what another one names; of many, the first are compared."""
    seen: dict[tuple[int, str], list[Port]] = {}
    for path, port in ports:
        if port.get("hostIP") and not port.get("hostPort"):
            shown = " ".join(f"{name}:{port.get(key) or none}" for name, key, none in _SHOWN)
            yield f"{path}: hostIP set without hostPort: {{{shown}}}"
        others = seen.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
        for other_path, other in others:
            if why := _overlap(port, other):
                yield f"{path}: {why} port definition with {other_path}"
        if len(others) < _COMPARED:
            others.append((path, port))


def _overlap(one: Wire, other: Wire) -> str:
    (ip, port), (other_ip, other_port) = (
        (it.get("hostIP", ""), it.get("hostPort", 0)) for it in (one, other)
    )
    if (ip, port) == (other_ip, other_port):
        return "duplicate"
    if not port or not other_port:
        return "overlapping"
    return "dangerously ambiguous" if port == other_port and bool(ip) != bool(other_ip) else ""


def _same_names(ports: Iterable[Port]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for path, port in ports:
        name = port.get("name", "")
        if name in seen:
            yield (
                f'{path}: duplicate port name "{name}" with {seen[name]}, services and probes that'
                f" select ports by name will use {seen[name]}"
            )
        elif name:
            seen[name] = path


def _of_affinity(path: str, affinity: Wire) -> Iterator[str]:
    for part in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(part, {})
        for name, inner in (("required", ""), ("preferred", "podAffinityTerm")):
            own = f"{name}DuringSchedulingIgnoredDuringExecution"
            for at, term in enumerate(terms.get(own, ())):
                wanted = term.get(inner, {}) if inner else term
                if "labelSelector" not in wanted:
                    place = f"{path}.{part}.{own}[{at}].{inner}".removesuffix(".")
                    yield f"{place}.labelSelector: {_NO_SELECTOR}"


def _of_addresses(path: str, spec: Wire) -> Iterator[str]:
    for at, server in enumerate(spec.get("dnsConfig", {}).get("nameservers", ())):
        yield from of_address(f"{path}.dnsConfig.nameservers[{at}]", server)
    for at, alias in enumerate(spec.get("hostAliases", ())):
        yield from of_address(f"{path}.hostAliases[{at}].ip", alias.get("ip", ""))
