"""What an operator chooses for the ebpf backend alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.model.settings import CounterDetail

ALGORITHMS = ("random", "maglev")


@dataclass(frozen=True, slots=True)
class EbpfOptions:
    """``root`` is the cgroup of the node's processes. ``by_hash`` takes the endpoint of a packet by
    Maglev's hashing, instead of at random. ``direct``, which needs that, lets an endpoint's node
    answer clients from outside by itself. ``counts_packets`` has sockets' packets counted.
    """

    root: str = ""
    by_hash: bool = False
    direct: bool = False
    counts_packets: bool = False


DEFAULTS = EbpfOptions()


def parse_options(options: Mapping[str, str]) -> EbpfOptions:
    """As ``proxy.config`` names them; what is missing is off."""
    return EbpfOptions(
        root=options.get("cgroup-root", ""),
        by_hash=options.get("ebpf-algorithm") == "maglev",
        direct="ebpf-direct-return" in options,
        counts_packets=options.get("service-counters") == CounterDetail.PACKETS,
    )
