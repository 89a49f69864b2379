"""The speaker's metrics, by MetalLB's names: what is announced, asked and answered, and sessions.

Source: https://metallb.io/prometheus-metrics/, MetalLB's internal/layer2/stats.go and
internal/bgp/metrics.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from control.cloud.speaker.bgp import Bgp
from control.cloud.speaker.duty import Tally
from control.cloud.speaker.speaker import Announcer
from control.cloud.speaker.views import Address, ServiceView
from control.metrics import Registry

_PORT = 179  # a router's


def measure_announced(
    registry: Registry,
    node: str,
    services: Callable[[], Iterable[ServiceView]],
    announcers: Sequence[Announcer],
) -> None:
    """Register which Services' addresses this node announces, and how."""

    def read() -> dict[tuple[str, ...], float]:
        return {
            ("/".join(service.key), announcer.protocol, node, str(address)): 1
            for announcer in announcers
            for service in services()
            for address in service.addresses
            if address in announcer.addresses
        }

    registry.measured(
        "metallb_speaker_announced",
        "Services being announced from this node. This is desired state, it does not guarantee "
        "that the routing protocols have converged.",
        *("service", "protocol", "node", "ip"),
        read=read,
    )


def measure_layer2(registry: Registry, tally: Tally) -> None:
    """Register the questions and answers of ARP and NDP."""
    rows = (
        ("requests_received", "Number of layer2 requests received for owned IPs", tally.asked),
        (
            "responses_sent",
            "Number of layer2 responses sent for owned IPs in response to requests",
            tally.answered,
        ),
        (
            "gratuitous_sent",
            "Number of gratuitous layer2 packets sent for owned IPs as a result of failovers",
            tally.announced,
        ),
    )
    for name, meaning, counts in rows:
        read = _reader(counts)
        registry.measured(f"metallb_layer2_{name}", meaning, "ip", read=read, kind="counter")


def _reader(counts: Mapping[Address, int]) -> Callable[[], dict[tuple[str, ...], float]]:
    return lambda: {(str(address),): count for address, count in counts.items()}


def measure_bgp(registry: Registry, bgp: Bgp) -> None:
    """Register the sessions with routers, and the routes of each."""

    def prefixes(*, pending: bool) -> dict[tuple[str, ...], float]:
        return {
            (f"{peer.address}:{_PORT}",): len(bgp.routes(peer)) if pending or is_up else 0
            for peer, is_up in bgp.sessions()
        }

    registry.measured(
        "metallb_bgp_session_up",
        "BGP session state (1 is up, 0 is down)",
        "peer",
        read=lambda: {(f"{peer.address}:{_PORT}",): int(up) for peer, up in bgp.sessions()},
    )
    registry.measured(
        "metallb_bgp_announced_prefixes_total",
        "Number of prefixes currently being advertised on the BGP session",
        "peer",
        read=lambda: prefixes(pending=False),
    )
    registry.measured(
        "metallb_bgp_pending_prefixes_total",
        "Number of prefixes that should be advertised on the BGP session",
        "peer",
        read=lambda: prefixes(pending=True),
    )
