"""Faults that a lab of network namespaces cannot have, or cannot have at will, and why."""

from debug.faults.fault import Fault

FAULTS = (
    Fault(
        name="vxlan-checksum",
        title="A network card breaks the tunnel's checksums",
        does="",
        symptom="Over VXLAN each connection to a Service takes 1, 3, 7 … 63 seconds to open.",
        cause="A kernel before 5.7 and a card that computes outer checksums wrongly after NAT.",
        heal="ethtool -K DEVICE tx-checksum-ip-generic off, or a newer kernel.",
        sources=("k/k#88986", "projectcalico/calico#3145"),
        why_not="the nodes' links are veth pairs, which carry packets without computing checksums, "
        "and the kernel is newer",
    ),
    Fault(
        name="conntrack-invalid",
        title="A segment outside the window, then a reset",
        does="",
        symptom="Long transfers through a Service are reset, seldom.",
        cause="A segment that conntrack takes for invalid is not translated back: the client sees "
        "a stranger, and resets.",
        heal="The rule that drops invalid packets, which the proxy has, or tcp_be_liberal.",
        sources=("k/k#74839", "k/k#117924"),
        why_not="every back end of this proxy drops or tolerates such segments, and without the "
        "proxy's rules there is no Service to reset",
    ),
    Fault(
        name="snat-race",
        title="Two questions of one socket race in connection tracking",
        does="",
        symptom="Now and then a look-up takes 5 seconds.",
        cause="A and AAAA leave one socket at once; both make the same flow, and one is dropped.",
        heal="A cache on each node; single-request-reopen.",
        sources=("k/k#56903", "flannel-io/flannel#1001"),
        why_not="a race cannot be made at will; dns-slow shows the same to the user",
    ),
    Fault(
        name="neighbor-overflow",
        title="The neighbor table is full",
        does="",
        symptom="With many Pods, some never get an answer, and the kernel logs 'neighbour: "
        "arp_cache: neighbor table overflow!'.",
        cause="More entries than gc_thresh3, which is 1024 unless somebody raised it.",
        heal="sysctl -w net.ipv4.neigh.default.gc_thresh3=8192, and the same for IPv6.",
        sources=("kubernetes/kops#4533",),
        why_not="the table and its limits are the whole machine's: namespaces other than the first "
        "have no gc_thresh3, and filling it would break the host's own network",
    ),
    Fault(
        name="promiscuous-mode",
        title="A hypervisor drops frames with Pods' MACs",
        does="",
        symptom="Pods on an uplink's bridge reach nobody beyond their machine.",
        cause="VirtualBox and others deliver frames for a machine's own MAC only.",
        heal="Allow promiscuous mode for the machine's adapter.",
        sources=("kubeovn/kube-ovn#4117",),
        why_not="there is no hypervisor between namespaces, and Pods' MACs do not leave the node",
    ),
    Fault(
        name="ping-clusterip",
        title="A ClusterIP does not answer pings",
        does="",
        symptom="ping CLUSTERIP hangs or is refused, while the Service's port answers.",
        cause="Only the Service's ports are translated; nobody has the address itself.",
        heal="Nothing is broken: ask the port.",
        sources=("k/k#47156",),
        why_not="it is so by design: there is nothing to break",
    ),
)
