"""The options of the ebpf backend."""

from collections.abc import Mapping

from msgspec import Struct

from proxy.model.settings import CounterDetail

ALGORITHMS = ("random", "maglev")


class EbpfOptions(Struct, frozen=True):
    """``root`` is the cgroup of the node's processes.

    ``by_hash`` chooses a packet's endpoint by Maglev hashing instead of at random. ``direct``,
    which needs ``by_hash``, lets an endpoint's node answer outside clients by itself.
    ``counts_packets`` counts sockets' packets.
    """

    root: str = ""
    by_hash: bool = False
    direct: bool = False
    counts_packets: bool = False


DEFAULTS = EbpfOptions()


def parse_options(options: Mapping[str, str]) -> EbpfOptions:
    """Parse ``ProxyConfig.backend_options``; missing options are off."""
    return EbpfOptions(
        root=options.get("cgroup-root", ""),
        by_hash=options.get("ebpf-algorithm") == "maglev",
        direct="ebpf-direct-return" in options,
        counts_packets=options.get("service-counters") == CounterDetail.PACKETS,
    )
