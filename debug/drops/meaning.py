"""What counters count, and what to do about them.

Sources: Documentation/networking/snmp_counter.rst, net/netfilter/nf_conntrack_standalone.c,
net/ipv4/proc.c.
"""

from collections.abc import Mapping

PROTOCOLS: Mapping[str, str] = {
    "Ip/InHdrErrors": "broken IP headers, or a TTL that ended",
    "Ip/InAddrErrors": "addresses that are nobody's here: is forwarding on?",
    "Ip/InDiscards": "no memory, or refused by a socket filter",
    "Ip/OutDiscards": "no room on the way out: memory, queues",
    "Ip/OutNoRoutes": "no route",
    "Ip/ReasmFails": "fragments that never became whole",
    "Ip/FragFails": "too big for the way, and may not be fragmented: MTU",
    "IpExt/InNoRoutes": "no route on the way in: routes, forwarding",
    "IpExt/InTruncatedPkts": "shorter than their header says",
    "IpExt/InCsumErrors": "wrong IP checksum",
    "Icmp/InErrors": "ICMP that is broken",
    "Udp/NoPorts": "UDP to a port that nobody has open",
    "Udp/InErrors": "UDP that is broken or had no room",
    "Udp/RcvbufErrors": "UDP faster than the program reads",
    "Udp/SndbufErrors": "UDP faster than the link takes it",
    "Udp/InCsumErrors": "wrong UDP checksum: offload of a tunnel?",
    "Tcp/InErrs": "TCP that is broken",
    "Tcp/InCsumErrors": "wrong TCP checksum: offload of a tunnel?",
    "TcpExt/ListenOverflows": "the program accepts too slowly",
    "TcpExt/ListenDrops": "SYNs with no room in a listening socket",
    "TcpExt/TCPBacklogDrop": "a socket's backlog is full",
    "TcpExt/TCPReqQFullDrop": "too many half-open connections",
    "TcpExt/TCPRcvQDrop": "no room in a socket's queue",
    "TcpExt/PAWSEstab": "old timestamps: NAT of several clients?",
    "TcpExt/IPReversePathFilter": "rp_filter: the way back is another link",
    "TcpExt/TCPTimeWaitOverflow": "too many sockets in TIME_WAIT",
    "TcpExt/LockDroppedIcmps": "ICMP for a busy socket",
}
CONNTRACK: Mapping[str, str] = {
    "drop": "no entry could be made: the table is full",
    "early_drop": "an unassured flow was put out for a new one: the table is full",
    "insert_failed": "two packets of one flow at once, as DNS' A and AAAA; the later one is lost",
    "invalid": "belongs to no flow, so it is not translated; often a late segment",
    "chaintoolong": "too many flows with one hash",
    "icmp_error": "ICMP errors that could not be told to which flow they belong",
}
BACKLOG = "the machine's own processors took packets too slowly (net.core.netdev_max_backlog)"
LINK = "the device, or what is on it (a queue, a bridge, a VXLAN)"
