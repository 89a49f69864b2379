"""Checks of NetworkPolicies that do more than their authors meant, as a rule."""

from collections import defaultdict
from collections.abc import Iterator

from debug.doctor.look import Look, found, ok
from debug.model import Finding, Level
from proxy.policy.wire import EgressRule, LabelSelector, NetworkPolicy, Pod

_DNS_PORT = 53


def denies(look: Look) -> Iterator[Finding]:
    """No Service's Pod is shut to everybody by a policy that admits none."""
    yield from _told(look, "policy-denies", "Ingress", _shut(look))


def no_dns(look: Look) -> Iterator[Finding]:
    """Pods whose egress is limited may still ask DNS."""
    yield from _told(look, "policy-no-dns", "Egress", _mute(look))


def _told(
    look: Look, check: str, way: str, pairs: Iterator[tuple[Pod, list[NetworkPolicy]]]
) -> Iterator[Finding]:
    count = 0
    for pod, policies in pairs:
        count += 1
        names = ", ".join("/".join(one.key) for one in policies)
        what = "admits nobody" if way == "Ingress" else "may not ask DNS"
        yield found(
            check,
            Level.WARN,
            pod.spec.node_name or "",
            f"Pod {'/'.join(pod.key)} {what}, by NetworkPolicy {names}",
            *(f"NetworkPolicy {'/'.join(one.key)}: selects it for {way}" for one in policies),
            about=f"Pod {'/'.join(pod.key)}",
            cause=f"its policies for {way} have no rule that admits it; each policy that selects a "
            "Pod closes it to all that none of them admits",
            consequence="its Services do not answer, and time out"
            if way == "Ingress"
            else "no name resolves in it, and everything seems down",
            fix="add a rule that admits the clients"
            if way == "Ingress"
            else "add an egress rule that admits UDP and TCP 53 to the DNS servers",
        )
    if not count:
        yield ok(check, "", "no policy does", f"{len(look.cluster.policies)} NetworkPolicies")


def _shut(look: Look) -> Iterator[tuple[Pod, list[NetworkPolicy]]]:
    """The Pods that are endpoints, and whose policies have no ingress rule at all."""
    ends = {
        address
        for part in look.cluster.slices
        for end in part.endpoints
        for address in end.addresses
    }
    for pod, policies in _selected(look, "Ingress"):
        is_end = any(one.ip in ends for one in pod.status.pod_ips)
        if is_end and not any(one.spec.ingress for one in policies):
            yield pod, policies


def _mute(look: Look) -> Iterator[tuple[Pod, list[NetworkPolicy]]]:
    for pod, policies in _selected(look, "Egress"):
        rules = (rule for one in policies for rule in one.spec.egress)
        if not any(_admits_dns(rule) for rule in rules):
            yield pod, policies


def _admits_dns(rule: EgressRule) -> bool:
    """True if a rule may admit UDP port 53, to whomever; a port by its name counts as such."""
    return not rule.ports or any(
        port.protocol == "UDP"
        and (
            port.port is None
            or isinstance(port.port, str)
            or port.port <= _DNS_PORT <= (port.end_port or port.port)
        )
        for port in rule.ports
    )


def _selected(look: Look, way: str) -> Iterator[tuple[Pod, list[NetworkPolicy]]]:
    """The living Pods with the policies of one direction that select them."""
    spaces: dict[str, list[NetworkPolicy]] = defaultdict(list)
    for one in look.cluster.policies:
        if way in _types(one):
            spaces[one.key[0]].append(one)
    for pod in look.pods.values():
        policies = [
            one
            for one in spaces.get(pod.key[0], ())
            if _selects(one.spec.pod_selector, pod.metadata.labels)
        ]
        if policies:
            yield pod, policies


def _types(policy: NetworkPolicy) -> list[str]:
    """The directions of a policy: Ingress always, if it names none (networking/v1)."""
    spec = policy.spec
    return spec.policy_types or ["Ingress", *(["Egress"] if spec.egress else [])]


def _selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    if not selector.match_labels.items() <= labels.items():
        return False
    for one in selector.match_expressions:
        value = labels.get(one.key)
        holds = {
            "In": value in one.values,
            "NotIn": value not in one.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(one.operator, False):
            return False
    return True
