"""Says why a node refuses to route a packet that came in."""

from debug.explain.here import Here
from debug.ruleset.packet import Device
from debug.ruleset.read.fib import RouteFact


def refusal(here: Here, route: RouteFact, iif: Device) -> str:
    """Say why what came by ``iif`` has no route: forwarding, the reverse path, or the routes."""
    return (
        _own_source(here, iif)
        or _not_forwarding(here)
        or _reverse_path(here, iif)
        or (f"routing of what comes by {iif.name}: {route.refused}")
    )


def _own_source(here: Here, iif: Device) -> str:
    """Say that no other host may send from an address of this one (fib_validate_source())."""
    packet = here.state.packet
    if packet.version != 4 or packet.source not in here.space.addresses:
        return ""
    settings = (
        here.space.sysctl(f"net/ipv4/conf/{name}/accept_local") for name in ("all", iif.name)
    )
    if "1" in settings:
        return ""
    return f"it comes by {iif.name} with the source {packet.source}, which is its own (martian)"


def _not_forwarding(here: Here) -> str:
    version = here.state.packet.version
    name = "net/ipv4/ip_forward" if version == 4 else "net/ipv6/conf/all/forwarding"
    off = here.space.sysctl(name) == "0"
    return f"this node does not forward ({name} is 0)" if off else ""


def _reverse_path(here: Here, iif: Device) -> str:
    """Say what rp_filter refuses; the kernel takes the stricter of a link's and all links'."""
    packet = here.state.packet
    if packet.version != 4:
        return ""
    settings = (here.space.sysctl(f"net/ipv4/conf/{name}/rp_filter") for name in (iif.name, "all"))
    mode = max(int(text or 0) for text in settings)
    back = here.space.fib.route(packet.source)
    if not mode or not ((mode == 1 and back.device != iif.index) or back.refused):
        return ""
    return (
        f"rp_filter {mode}: it came by {iif.name}, but the route back to {packet.source} leads "
        "elsewhere"
    )
