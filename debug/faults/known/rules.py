"""Faults of a node's rules: policies, filters and translations of other programs."""

from collections.abc import Iterable

from debug.faults.acts.base import Act, FaultError
from debug.faults.acts.node import Paused
from debug.faults.acts.rules import ForwardPolicy, LegacyRule, Rules, Wiped
from debug.faults.fault import Fault, Look
from debug.faults.scene import BRIDGE, Scene

_VXLAN = 4789


def _forward_drop(scene: Scene) -> Iterable[Act]:
    yield ForwardPolicy(spot=scene.spot)


def _mixed(scene: Scene) -> Iterable[Act]:
    rule = ("-s", str(scene.range(scene.node)), "-j", "DROP")
    yield LegacyRule(spot=scene.spot, chain="FORWARD", rule=rule)


def _overlay(scene: Scene) -> Iterable[Act]:
    scene.need_tunnel()
    chain = (
        "chain input { type filter hook input priority filter - 10; "
        f"udp dport {_VXLAN} counter drop; }}"
    )
    yield Rules(spot=scene.spot, family="inet", name="overlay-filtered", chains=(chain,))


def _wiped(scene: Scene) -> Iterable[Act]:
    if scene.mode == "ebpf":
        raise FaultError("mode ebpf has its Services in maps, which no other program flushes")
    if scene.hold:
        yield Paused(node=scene.node, component="proxy")
    yield Wiped(spot=scene.spot, mode=scene.mode)


def _masquerade(scene: Scene) -> Iterable[Act]:
    own = scene.range(scene.node)
    chain = (
        "chain postrouting { type nat hook postrouting priority srcnat - 10; "
        f'ip saddr {own} oifname != "{BRIDGE}" counter masquerade; }}'
    )
    yield Rules(spot=scene.spot, family="ip", name="over-masquerade", chains=(chain,))


def _dns_down(scene: Scene) -> Iterable[Act]:
    yield _on_dns(scene, "dns-down", "counter drop")


def _dns_slow(scene: Scene) -> Iterable[Act]:
    """Every other question is lost; a client asks again after some seconds."""
    yield _on_dns(scene, "dns-slow", "numgen inc mod 2 0 counter drop")


def _on_dns(scene: Scene, name: str, verdict: str) -> Act:
    chains = tuple(
        f"chain {hook} {{ type filter hook {hook} priority raw - 10; "
        f"udp dport 53 {verdict}; {'tcp dport 53 counter drop;' if name == 'dns-down' else ''} }}"
        for hook in ("prerouting", "output")
    )
    return Rules(spot=scene.spot, family="inet", name=name, chains=chains)


FAULTS = (
    Fault(
        name="forward-drop",
        title="The policy of chain FORWARD is DROP",
        does="Sets it on {node}, as Docker and firewalls do: iptables -P FORWARD DROP.",
        symptom="Pods of {node} do not reach Pods and names beyond it, nor do others reach them. "
        "{node} itself reaches all of them.",
        cause="What no rule of FORWARD accepts is dropped. Only rules of the proxy and of the CNI "
        "plugin would accept it, and they do so for a part.",
        find=(
            Look(
                "podwire lab exec {node} -- iptables -S FORWARD",
                "the first line: -P FORWARD, and its policy",
            ),
            Look(
                "podwire lab exec {node} -- iptables -L FORWARD -v -n",
                "the packets that the policy took, in the chain's head",
            ),
        ),
        heal="iptables -P FORWARD ACCEPT, or accept the Pods' range: iptables -I FORWARD -s RANGE "
        "-j ACCEPT, and the same with -d.",
        sources=("k/k#39823",),
        plan=_forward_drop,
    ),
    Fault(
        name="iptables-mixed",
        title="Rules in both back ends of iptables",
        does="Drops what {node}'s Pods send, by a rule of iptables-legacy. The rest of the node is "
        "written by iptables-nft.",
        symptom="What Pods of {node} send beyond it is lost, and iptables -L shows no rule that "
        "would do that.",
        cause="The kernel runs the rules of both back ends, one after the other; each tool shows "
        "its own. An older program or a container with other tools wrote them.",
        find=(
            Look("podwire lab exec {node} -- iptables -V", "the back end that you look into"),
            Look(
                "podwire lab exec {node} -- iptables-legacy -S FORWARD",
                "the rules of the other one",
            ),
            Look(
                "podwire lab exec {node} -- iptables-legacy -L FORWARD -v -n",
                "their counters: which rule's grow?",
            ),
        ),
        heal="Have all programs of a node use one back end, and flush the other.",
        sources=("k/k#71305", "k/k#112477"),
        plan=_mixed,
    ),
    Fault(
        name="overlay-filtered",
        title="A firewall drops the tunnel's packets",
        does=f"Drops UDP {_VXLAN} that reaches {{node}}, as firewalld does. Needs --overlay vxlan.",
        symptom="Pods of {node} and of other nodes do not reach each other. The nodes do.",
        cause="The tunnel's packets are UDP between the nodes. They leave the one, and are dropped "
        "on arrival at the other.",
        find=(
            Look(
                "podwire lab exec {peer} -- ip -s link show podwire-vxlan",
                "TX grows when you ping {node}'s Pods from there: they leave",
            ),
            Look(
                "podwire lab exec {node} -- ip -s link show podwire-vxlan",
                "RX does not grow: they do not arrive",
            ),
            Look(
                "podwire lab exec {node} -- nft list ruleset inet",
                "a rule that drops the tunnel's port, with its counter",
            ),
        ),
        heal=f"firewall-cmd --permanent --add-port={_VXLAN}/udp --zone=ZONE, on every node.",
        sources=("flannel-io/flannel#2388",),
        plan=_overlay,
    ),
    Fault(
        name="rules-wiped",
        title="Another program wiped the proxy's rules",
        does="Flushes the proxy's rules on {node}, as a firewall's reload does, and pauses the "
        "proxy, because it would write them again.",
        symptom="No Service answers on {node} and to its Pods: connections to ClusterIPs hang or "
        "are refused. Addresses of Pods answer.",
        cause="iptables -t nat -F, or nft flush ruleset, removes everybody's rules. kube-proxy "
        "notices after minutes, or with nftables after an hour or never; this lab's proxy at once.",
        find=(
            Look(
                "podwire lab exec {node} -- iptables-save -t nat -c",
                "mode iptables: is there a chain KUBE-SERVICES with rules?",
            ),
            Look(
                "podwire lab exec {node} -- nft list tables",
                "mode nftables: is there a table podwire-proxy?",
            ),
            Look("kubectl get events -A", "ProxyRulesDisturbed tells of earlier times"),
        ),
        heal="Restart the proxy, and order the firewall's start before it.",
        sources=("k/k#129128", "rancher/rke2#10469"),
        repaired="the proxy, within 0.2 s",
        plan=_wiped,
    ),
    Fault(
        name="over-masquerade",
        title="Servers do not see who asks",
        does="Masquerades all that {node}'s Pods send beyond it, in the cluster too.",
        symptom="A server on another node sees {node}'s address and not the Pod's: logs are wrong, "
        "and NetworkPolicies that admit the Pod drop it.",
        cause="A rule masquerades without an exception for the cluster's own ranges: a wrong "
        "clusterCIDR, a wrong ipMasq, another agent's rule.",
        find=(
            Look(
                "podwire lab exec {node} -- nft list ruleset",
                "chains of type nat at hook postrouting: which rule comes first, for whom?",
            ),
            Look(
                "podwire lab exec {node} -- conntrack -L -n",
                "flows whose source is translated, and to what",
            ),
        ),
        heal="Give the proxy and the CNI plugin the cluster's real ranges.",
        sources=("k/k#91437", "k/k#107591"),
        plan=_masquerade,
    ),
    Fault(
        name="dns-down",
        title="DNS does not answer",
        does="Drops all questions to port 53 on {node}.",
        symptom="On {node}, Pods cannot resolve any name: 'bad address', after some seconds. "
        "By address, all Services answer.",
        cause="A filter drops port 53, UDP and TCP. It need not stand where the DNS servers run.",
        find=(
            Look("kubectl get pods,endpointslices -n kube-system -o wide", "do the servers run?"),
            Look(
                "podwire lab exec {node} -- dig +time=1 +tries=1 @{dns_ip} kubernetes.default.svc"
                ".cluster.local",
                "a question to the Service from this node; try it on another one too",
            ),
            Look(
                "podwire lab exec {node} -- nft list ruleset inet",
                "a rule with port 53, and its counter",
            ),
        ),
        heal="Remove the filter, or admit port 53 of both protocols.",
        sources=("https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",),
        plan=_dns_down,
    ),
    Fault(
        name="dns-slow",
        title="DNS takes five seconds",
        does="Drops every other question to port 53 on {node}.",
        symptom="On {node} every other look-up takes 2.5 to 5 seconds: until the resolver asks "
        "again. Nothing fails.",
        cause="A question over UDP is lost, and the client waits for its timeout. In real clusters "
        "the loss is a race of two questions from one socket in conntrack's translation.",
        find=(
            Look(
                "kubectl exec {pod_args} -- time nslookup kubernetes.default",
                "the time that a look-up takes; repeat it some times",
            ),
            Look(
                "podwire lab exec {node} -- conntrack -S",
                "insert_failed: the race; here it stays 0",
            ),
            Look(
                "podwire lab exec {node} -- nft list ruleset inet",
                "a rule with port 53, and its counter",
            ),
        ),
        heal="A cache on each node, asked over TCP or without translation; ndots:1 where it fits.",
        sources=("k/k#56903", "flannel-io/flannel#1001"),
        plan=_dns_slow,
    ),
)
