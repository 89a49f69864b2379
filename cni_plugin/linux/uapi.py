"""Numbers and structures of the kernel's rtnetlink interface, as far as the plugin uses them.

Source: include/uapi/linux of Linux 6.18: netlink.h, rtnetlink.h, if_link.h, if_addr.h,
neighbour.h, if_bridge.h, veth.h; include/linux/socket.h; rtnetlink(7).
"""

import struct

# socket.h; Python's own are members of enums, and making those takes 3 ms
AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6, AF_NETLINK = 0, 2, 7, 10, 16

# netlink.h
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port

# rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTMGRP_LINK = 1
RTMSG = struct.Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type; flags
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_METRICS, RTA_TABLE = 1, 4, 5, 6, 8, 15
RTA_MULTIPATH, RTNEXTHOP = 9, struct.Struct("=HxxI")  # length, index; its attributes
RTAX_MTU, RTAX_ADVMSS = 2, 8
RT_TABLE_COMPAT, RT_TABLE_MAIN = 252, 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTPROT_STATIC, RTN_UNICAST = 4, 1

# if_link.h, veth.h
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFF_UP, IFF_RUNNING, IFF_PROMISC, IFF_ALLMULTI = 0x1, 0x40, 0x100, 0x200
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_TXQLEN = 1, 3, 4, 5, 10, 13
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP = 18, 20, 26, 27
IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_INET_CONF = 28, 29, 1
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, RTEXT_FILTER_SKIP_STATS = 31, 32, 8
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IPV4_DEVCONF_ARP_NOTIFY = 22  # ip.h
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LOCKED = 1, 4, 33, 39
BR_STATE_FORWARDING = 3

# if_addr.h
IFADDRMSG = struct.Struct("=4BI")  # family, prefix length, flags, scope, index
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_NOPREFIXROUTE = 0x02, 0x08, 0x40, 0x200

# neighbour.h
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NDA_DST, NDA_LLADDR = 1, 2
NTF_MASTER, NUD_NOARP = 0x04, 0x40

# pkt_sched.h, rtnetlink.h: for reading traffic control; shaping.py has those for writing
RTM_GETQDISC, TCMSG_SIZE, TCA_KIND, TCA_OPTIONS = 38, 20, 1, 2
TCA_TBF_PARMS, TCA_TBF_RATE64, TBF_RATE_AT = 1, 4, 8
