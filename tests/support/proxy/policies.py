"""API objects for tests of NetworkPolicies."""


def pod(name: str, node: str, *addresses: str, labels=None, ports=None, namespace="ns") -> dict:
    """Return a Pod; ``ports`` maps names of TCP ports to numbers."""
    named = [{"name": one, "containerPort": number} for one, number in (ports or {}).items()]
    return {
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": name, "labels": labels or {}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": named}]},
        "status": {"phase": "Running", "podIPs": [{"ip": one} for one in addresses]},
    }


def namespace(name: str, **labels: str) -> dict:
    """Return a namespace, with the label that upstream gives it."""
    meta = {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}
    return {"kind": "Namespace", "metadata": meta}


def policy(name: str, selects: dict[str, str] | None = None, namespace="ns", **spec) -> dict:
    """Return a policy; its types are the directions that ``spec`` names."""
    types = [one.capitalize() for one in ("ingress", "egress") if one in spec]
    selector = {"matchLabels": selects} if selects else {}
    return {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"podSelector": selector, "policyTypes": types, **spec},
    }


def cluster_policy(name: str, tier="Admin", priority=10, subject=None, **spec) -> dict:
    """Return a ClusterNetworkPolicy; without a subject it is about all Pods."""
    given = {"tier": tier, "priority": priority, "subject": subject or {"namespaces": {}}}
    return {
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": given | spec,
    }
