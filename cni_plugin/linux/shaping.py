"""Bandwidth limits by traffic control.

Source: tc-tbf(8), tc-u32(8), tc-mirred(8); include/uapi/linux of Linux 6.18: pkt_sched.h,
pkt_cls.h, tc_act/tc_mirred.h; the reference's bandwidth plugin.
"""

import errno
import struct

from cni_plugin.linux import netlink, uapi
from cni_plugin.linux.netlink import Attributes

_ROOT_HANDLE, _INGRESS_HANDLE, _TARGET = 0x10000, 0xFFFF0000, 0x10001
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1  # TC_H_ROOT, TC_H_INGRESS as parents
_LATENCY = 40  # a packet waits at most 1/40 s, as with the reference plugin
_UINT32_MAX = 0xFFFFFFFF

_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_NEWTFILTER = 36, 37, 44
_TCA_TBF_BURST = 6
_LINKLAYER_ETHERNET = 1  # with it the kernel needs no table of rates
# tc_tbf_qopt: rate and peak rate (cell_log, linklayer, overhead, cell_align, mpu, rate), limit,
# buffer, mtu
_TBF = struct.Struct("=BBHhHI 12x IIxxxx")
_TCA_U32_CLASSID, _TCA_U32_SEL, _TCA_U32_ACT = 1, 5, 7
# tc_u32_sel with one key whose mask is 0: every packet
_EVERYTHING = struct.pack("=BBBx 12x 16x", 1, 0, 1)  # TC_U32_TERMINAL, no shift, one key
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 1, 2, 2
_MIRRED = struct.Struct("=8xi8xiI")  # tc_mirred: action, kind of redirection, device
_TC_ACT_STOLEN, _TCA_EGRESS_REDIR = 4, 1
_ETH_P_ALL, _PRIORITY = 0x0003, 1


def limit_rate(index: int, rate: int, burst: int) -> None:
    """Limit a link's sending to ``rate`` bytes per second, ``burst`` bytes at once.

    The burst is passed in bytes. In the older form, clock ticks, containerd's burst of 4 Gbit
    overflows 32 bits at 10 Mbit/s. Raises NetlinkError.
    """
    limit = min(rate // _LATENCY + burst, _UINT32_MAX)
    short = min(rate, _UINT32_MAX)
    options: Attributes = {
        uapi.TCA_TBF_PARMS: _TBF.pack(0, _LINKLAYER_ETHERNET, 0, -1, 0, short, limit, 0),
        uapi.TCA_TBF_RATE64: rate.to_bytes(8, "little") if rate > _UINT32_MAX else None,
        _TCA_TBF_BURST: burst,
    }
    body = _TCMSG.pack(0, index, _ROOT_HANDLE, _ROOT, 0)
    body += netlink.pack({uapi.TCA_KIND: "tbf", uapi.TCA_OPTIONS: options})
    with netlink.Socket() as socket:
        socket.change(_RTM_NEWQDISC, body, uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE)


def redirect_ingress(index: int, to: int) -> None:
    """Redirect a link's received packets to an IFB, which returns them. Raises NetlinkError."""
    mirred = {_TCA_MIRRED_PARMS: _MIRRED.pack(_TC_ACT_STOLEN, _TCA_EGRESS_REDIR, to)}
    options: Attributes = {
        _TCA_U32_CLASSID: _TARGET,
        _TCA_U32_SEL: _EVERYTHING,
        _TCA_U32_ACT: {1: {_TCA_ACT_KIND: "mirred", _TCA_ACT_OPTIONS: mirred}},
    }
    info = _PRIORITY << 16 | _ETH_P_ALL << 8  # the protocol is in network order
    qdisc = _TCMSG.pack(0, index, _INGRESS_HANDLE, _INGRESS, 0)
    qdisc += netlink.pack({uapi.TCA_KIND: "ingress"})
    tfilter = _TCMSG.pack(0, index, 0, _INGRESS_HANDLE, info)
    tfilter += netlink.pack({uapi.TCA_KIND: "u32", uapi.TCA_OPTIONS: options})
    with netlink.Socket() as socket:
        socket.change(_RTM_NEWQDISC, qdisc, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
        try:
            socket.change(_RTM_NEWTFILTER, tfilter, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
        except OSError:
            pass_ingress(index)
            raise


def pass_ingress(index: int) -> None:
    """Remove the redirection of a link's received packets, if there is one. Raises NetlinkError."""
    _remove_qdisc(_TCMSG.pack(0, index, _INGRESS_HANDLE, _INGRESS, 0))


def lift_limit(index: int) -> None:
    """Remove the limit of a link's sending, if there is one. Raises NetlinkError."""
    _remove_qdisc(_TCMSG.pack(0, index, _ROOT_HANDLE, _ROOT, 0))


def _remove_qdisc(body: bytes) -> None:
    with netlink.Socket() as socket:
        try:
            socket.change(_RTM_DELQDISC, body)
        except netlink.NetlinkError as err:
            if not err.absent and err.errno != errno.EINVAL:  # the kernel's own qdisc is there
                raise
