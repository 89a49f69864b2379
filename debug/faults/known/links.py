"""Faults of addresses, links, routes and settings of a node."""

from collections.abc import Iterable, Iterator

from debug.faults.acts.base import Act, FaultError, Spot
from debug.faults.acts.kernel import ExtraAddress, ExtraRoute, LinkValue, Setting, WrongNeighbor
from debug.faults.acts.node import Paused
from debug.faults.acts.rules import Rules
from debug.faults.fault import Fault, Look
from debug.faults.scene import BRIDGE, TUNNEL, UPLINK, Scene
from debug.places import SWITCH

_SMALL = 1400  # bytes; a tunnel of the usual MTU sends packets of 1500
_NOBODY = "02:00:5e:00:53:01"
_SHARED = "fd00:31:dad::1/64"


def _duplicate_node_ip(scene: Scene) -> Iterable[Act]:
    yield ExtraAddress(spot=scene.spot, link=UPLINK, address=f"{scene.address(scene.peer)}/32")


def _mtu(scene: Scene) -> Iterable[Act]:
    """Packets of veth pairs may be large segments that no MTU stops: a rule drops those."""
    port, switch = scene.node, Spot(SWITCH)
    chains = tuple(
        f'chain {hook} {{ type filter hook {hook} device "{port}" priority 0; '
        f"ip length > {_SMALL} counter drop; ip6 length > {_SMALL - 40} counter drop; }}"
        for hook in ("ingress", "egress")
    )
    yield LinkValue(spot=switch, link=port, field="mtu", value=str(_SMALL))
    yield Rules(spot=switch, family="netdev", name=f"mtu-{port}", chains=chains)


def _bridge_filter(scene: Scene) -> Iterable[Act]:
    if scene.mode == "ebpf":
        raise FaultError("mode ebpf translates at sockets and links, and needs no bridge filtered")
    if scene.hold:
        yield Paused(node=scene.node, component="proxy")
    yield LinkValue(spot=scene.spot, link=BRIDGE, field="bridge filter", value="0")


def _forwarding(scene: Scene) -> Iterable[Act]:
    yield Setting(spot=scene.spot, name=f"net/ipv4/conf/{BRIDGE}/forwarding", value="0")


def _halves(scene: Scene, *how: str) -> Iterator[Act]:
    """Yield routes to the halves of the peer's range, which win over the agent's to the whole."""
    for half in scene.range(scene.peer).subnets():
        yield ExtraRoute(spot=scene.spot, destination=str(half), how=how)


def _duplicate_range(scene: Scene) -> Iterable[Act]:
    return _halves(scene, "dev", BRIDGE)


def _strict_rp_filter(scene: Scene) -> Iterable[Act]:
    scene.need_tunnel()
    yield from _halves(scene, "via", scene.address(scene.peer), "dev", UPLINK)
    yield Setting(spot=scene.spot, name=f"net/ipv4/conf/{TUNNEL}/rp_filter", value="1")


def _hairpin(scene: Scene) -> Iterable[Act]:
    ports = scene.ports.get(scene.node, ())
    if not ports:
        raise FaultError(f"{scene.node} has no Pods on its bridge: start one there")
    for port in ports:
        yield LinkValue(spot=scene.spot, link=port, field="hairpin", value="off")


def _loopback(scene: Scene) -> Iterable[Act]:
    if scene.mode != "iptables":
        raise FaultError(
            f"mode {scene.mode} serves no NodePorts on loopback by route_localnet: "
            "podwire lab set proxy iptables"
        )
    yield Setting(spot=scene.spot, name="net/ipv4/conf/all/route_localnet", value="0")


def _wrong_neighbor(scene: Scene) -> Iterable[Act]:
    peer = scene.address(scene.peer)
    yield WrongNeighbor(spot=scene.spot, link=UPLINK, ip=peer, mac=_NOBODY)


def _dad(scene: Scene) -> Iterable[Act]:
    for node in (scene.node, scene.peer):
        yield ExtraAddress(spot=Spot(node), link=UPLINK, address=_SHARED)


FAULTS = (
    Fault(
        name="duplicate-node-ip",
        title="Two nodes with one IP",
        does="Gives {node} the IP of {peer} too, as on virtual machines that all have 10.0.2.15.",
        symptom="What {node} sends to {peer} never leaves {node}: connections are refused, or "
        "answered by {node} itself. The rest of the cluster reaches {peer} well.",
        cause="The address of the peer is one of the node's own. The kernel looks into the table "
        "'local' first, and delivers the packet here.",
        find=(
            Look(
                "podwire lab exec {node} -- ip route get {peer_ip}",
                "the route to the other node: is it 'local', on lo?",
            ),
            Look(
                "podwire lab exec {node} -- ip -br address",
                "every address of the node beside those of the other nodes",
            ),
            Look("kubectl get nodes -o wide", "the InternalIP of each node: all must differ"),
        ),
        heal="Name the right address: kubelet's and the agent's --node-ip, flannel's --iface.",
        sources=("flannel-io/flannel#535", "k/k#69509"),
        plan=_duplicate_node_ip,
    ),
    Fault(
        name="mtu-black-hole",
        title="An MTU black hole between nodes",
        does=f"Lets the switch carry at most {_SMALL} bytes to and from {{node}}, and say nothing.",
        symptom="Pings and short answers pass between {node} and the others. A long answer, a TLS "
        "certificate or a file hangs until it times out.",
        cause="A device between the nodes takes smaller packets than the nodes' MTU, less still "
        "the tunnel's header, and no ICMP 'fragmentation needed' comes back: so path MTU discovery "
        "fails.",
        find=(
            Look(
                "podwire lab exec {node} -- ping -c 1 -W 1 -M do -s 1300 {peer_ip}",
                "a packet of 1328 bytes, which must not be fragmented: it passes",
            ),
            Look(
                "podwire lab exec {node} -- ping -c 1 -W 1 -M do -s 1450 {peer_ip}",
                "one of 1478 bytes: it is lost, without a word",
            ),
            Look(
                "podwire lab exec {node} -- ip link show eth0",
                "the MTU that the node believes in; podwire lab exec switch -- ip link has the "
                "other end",
            ),
        ),
        heal="Set the nodes' MTU, and the CNI plugin's, to what the path carries.",
        sources=("flannel-io/flannel#1011",),
        plan=_mtu,
    ),
    Fault(
        name="bridge-filter-off",
        title="Bridged packets pass no rules (br_netfilter)",
        does="Turns bridge netfilter off at the Pods' bridge of {node}, and pauses its proxy.",
        symptom="A Pod that calls a Service gets no answer from Pods of its own node; from those "
        "of other nodes it does. Tries succeed by chance.",
        cause="The answer of a Pod to its neighbor is a frame on the bridge. The rules, which "
        "would give it the Service's address back, do not see it, and the client knows no "
        "connection to the Pod's address.",
        find=(
            Look(
                "podwire lab exec {node} -- ip -d link show podwire0",
                "nf_call_iptables: 1 means that frames pass the rules",
            ),
            Look(
                "podwire lab exec {node} -- sysctl net.bridge.bridge-nf-call-iptables",
                "the same, for all bridges; either is enough",
            ),
        ),
        heal="modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
        sources=("k/k#127031", "k/k#87426"),
        repaired="the proxy, within 0.2 s",
        plan=_bridge_filter,
    ),
    Fault(
        name="forwarding-off",
        title="A node does not forward",
        does="Turns forwarding off for what comes from the Pods' bridge of {node}.",
        symptom="Pods of {node} reach each other and their node, but no Pod, node or name beyond "
        "it. {node} itself reaches everything.",
        cause="A packet whose input device does not forward is dropped after the route lookup. "
        "Another program's sysctl file turned it off.",
        find=(
            Look(
                "podwire lab exec {node} -- sysctl -a -r ipv4.conf.*.forwarding",
                "the setting of each device: net.ipv4.ip_forward alone shows 1",
            ),
            Look(
                "podwire lab exec {node} -- nstat -az IpInAddrErrors IpForwDatagrams",
                "the packets that were not forwarded",
            ),
        ),
        heal="sysctl -w net.ipv4.conf.all.forwarding=1, and remove it from /etc/sysctl.d. The "
        "agent sets net.ipv4.ip_forward again within a second, but no device's own setting.",
        sources=("k/k#39823",),
        plan=_forwarding,
    ),
    Fault(
        name="duplicate-pod-cidr",
        title="Another network has the Pods' range",
        does="Gives {node} routes to the halves of {peer}'s Pod range that lead to its own bridge.",
        symptom="From {node} and its Pods no Pod of {peer} answers: no route to host. The other "
        "way, answers are lost too.",
        cause="A more specific route wins over the agent's: of a VPN, of another cluster, or of a "
        "second node with the same podCIDR.",
        find=(
            Look(
                "podwire lab exec {node} -- ip route get {peer_pod_ip}",
                "the route that is taken: it must lead to the other node",
            ),
            Look(
                "podwire lab exec {node} -- ip route show root {peer_range}",
                "all routes into the range; those with proto 87 are the agent's",
            ),
            Look("kubectl get nodes -o custom-columns=N:.metadata.name,C:.spec.podCIDRs", "ranges"),
        ),
        heal="Remove the foreign routes, or give the cluster a range that nobody else has.",
        sources=("k/k#51322",),
        plan=_duplicate_range,
    ),
    Fault(
        name="strict-rp-filter",
        title="Strict rp_filter on an asymmetric path",
        does="Sends what goes to {peer}'s Pods past the tunnel, and has {node} check strictly what "
        "comes out of it. Needs --overlay vxlan.",
        symptom="From {node}'s Pods no Pod of {peer} answers, though tcpdump on {node} shows the "
        "answers arrive. Nothing is logged.",
        cause="With rp_filter 1 the kernel drops a packet that came in by another device than the "
        "one by which it would answer. max(all, device) counts.",
        find=(
            Look(
                "podwire lab exec {node} -- sysctl -a -r ipv4.conf.*.rp_filter",
                "the setting of each device, and of all",
            ),
            Look("podwire lab exec {node} -- nstat -az TcpExtIPReversePathFilter", "the drops"),
            Look(
                "podwire lab exec {node} -- ip route get {peer_pod_ip}",
                "the device of the way there, beside podwire-vxlan, where the answer arrives",
            ),
        ),
        heal="sysctl -w net.ipv4.conf.DEVICE.rp_filter=2 (loose), or make the routes symmetric.",
        sources=("cilium/cilium#13130",),
        plan=_strict_rp_filter,
    ),
    Fault(
        name="hairpin-off",
        title="A Pod does not reach itself through its Service",
        does="Turns hairpin mode off at all ports of the Pods' bridge of {node}.",
        symptom="A Pod of {node} that calls its own Service hangs when the choice falls on itself: "
        "always, if it is the only endpoint.",
        cause="The packet would have to leave the bridge by the port by which it came, which a "
        "bridge does only for ports in hairpin mode.",
        find=(
            Look(
                "podwire lab exec {node} -- bridge -d link show",
                "hairpin on or off, for each port of the bridge",
            ),
        ),
        heal="hairpinMode: true in the CNI configuration; for Pods that run: "
        "ip link set PORT type bridge_slave hairpin on",
        sources=("k/k#20475",),
        plan=_hairpin,
    ),
    Fault(
        name="nodeport-loopback",
        title="NodePorts do not answer on 127.0.0.1",
        does="Sets route_localnet to 0 on {node}. In mode iptables only: the others need none.",
        symptom="curl 127.0.0.1:NODEPORT on {node} hangs; the node's own address answers.",
        cause="Packets from 127.0.0.1 that were translated to a Pod leave by another device than "
        "lo, which the kernel allows only with route_localnet.",
        find=(
            Look(
                "podwire lab exec {node} -- sysctl net.ipv4.conf.all.route_localnet",
                "1 lets 127.0.0.0/8 leave lo",
            ),
        ),
        heal="Use the node's address: upstream's modes other than iptables never serve loopback. "
        "Or restart the proxy, which sets it when it starts.",
        sources=("k/k#142183",),
        plan=_loopback,
    ),
    Fault(
        name="wrong-neighbor",
        title="A wrong MAC for another node",
        does="Pins a MAC that nobody has for {peer}'s address on {node}.",
        symptom="From {node} nothing on {peer} answers, the Pods there neither. From elsewhere it "
        "does.",
        cause="A permanent entry of the neighbor table is never asked for again: left by a script, "
        "or true until the machine was replaced.",
        find=(
            Look(
                "podwire lab exec {node} -- ip neigh show {peer_ip}",
                "the MAC, and PERMANENT, which no ARP has learned",
            ),
            Look("podwire lab exec {peer} -- ip link show eth0", "the MAC that it should be"),
        ),
        heal="ip neigh del ADDRESS dev eth0",
        sources=("https://www.rfc-editor.org/rfc/rfc826",),
        plan=_wrong_neighbor,
    ),
    Fault(
        name="ipv6-dad",
        title="An IPv6 address that was found twice",
        does=f"Gives {{node}} and {{peer}} the same IPv6 address, {_SHARED}.",
        symptom="One of them, or both, cannot use the address: binding to it fails, and nobody is "
        "answered from it.",
        cause="Duplicate address detection (RFC 4862) heard another owner. The address stays, "
        "marked dadfailed, until it is removed and added anew.",
        find=(
            Look(
                "podwire lab exec {peer} -- ip -6 address show dev eth0",
                "the flags of each address: tentative, dadfailed",
            ),
        ),
        heal="Remove the address from one of them, and add it to the other again.",
        sources=("https://www.rfc-editor.org/rfc/rfc4862",),
        plan=_dad,
    ),
)
