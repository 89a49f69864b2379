"""The labels that a node may give itself. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

_RESTRICTED = "node-restriction.kubernetes.io/"
_KUBELET = ("kubelet.kubernetes.io/", "node.kubernetes.io/")
# The labels of kubernetes.io and k8s.io that a node may set on itself.
_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
    )
)
_DOMAINS = ("kubernetes.io", "k8s.io")


def may_set(label: str) -> bool:
    """Return True for a label that a node may set or remove on itself."""
    if label in _OWN_LABELS or "/" not in label:
        return True
    prefix = label.partition("/")[0]
    if f"{prefix}/" == _RESTRICTED or prefix.endswith(f".{_RESTRICTED[:-1]}"):
        return False
    if any(prefix == one[:-1] or prefix.endswith(f".{one[:-1]}") for one in _KUBELET):
        return True
    return not any(prefix == one or prefix.endswith(f".{one}") for one in _DOMAINS)
