"""What a Service asks of the pools: families, addresses, a pool, and with whom it may share. Pure.

The annotations are MetalLB's: ``metallb.io/loadBalancerIPs``, ``metallb.io/address-pool`` and
``metallb.io/allow-shared-ip``. ``spec.loadBalancerIP`` is read too.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from control.api.service import Service
from control.cloud.lab.pools import Address
from control.cloud.provider import CloudError

ADDRESSES = "metallb.io/loadBalancerIPs"
POOL = "metallb.io/address-pool"
SHARING = "metallb.io/allow-shared-ip"
_VERSIONS = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a Service asks for.

    ``backends`` is what Services of one address must have in common: with policy Local, their
    selectors, because an address is at one node.
    """

    name: str
    versions: tuple[int, ...]
    requested: tuple[Address, ...] = ()
    pool: str = ""
    key: str = ""  # Services with the same key may share an address
    ports: frozenset[tuple[str, int]] = frozenset()
    backends: str = ""

    def shares(self, other: "Claim") -> str:
        """Return why this Service cannot share an address with another; "" if it can."""
        if not self.key or self.key != other.key:
            return f"it is in use by Service {other.name}, which has not the same {SHARING}"
        if both := sorted(self.ports & other.ports):
            return f"Service {other.name} has port {both[0][1]}/{both[0][0]} of it"
        if self.backends != other.backends:
            return (
                f"Service {other.name} has it with another externalTrafficPolicy or, with policy "
                "Local, another selector"
            )
        return ""


def claim_of(service: Service) -> Claim:
    """Return what a Service asks for; raises CloudError if its request is not valid."""
    spec, notes = service.spec, service.metadata.annotations
    local = spec.external_traffic_policy == "Local"
    return Claim(
        f"{service.metadata.namespace}/{service.metadata.name}",
        tuple(_VERSIONS[family] for family in spec.ip_families if family in _VERSIONS) or (4,),
        _requested(service),
        notes.get(POOL, ""),
        notes.get(SHARING, ""),
        frozenset((port.protocol, port.port) for port in spec.ports),
        f"Local {sorted(spec.selector.items())}" if local else "Cluster",
    )


def _requested(service: Service) -> tuple[Address, ...]:
    spec, notes = service.spec, service.metadata.annotations
    where, text = "spec.loadBalancerIP", spec.load_balancer_ip or ""
    if ADDRESSES in notes:
        where, text = f"annotation {ADDRESSES}", notes[ADDRESSES]
    try:
        found = tuple(ip_address(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as err:
        raise CloudError(f"{where} {text!r}: {err}; write it as 192.0.2.10") from err
    versions = [address.version for address in found]
    if len(set(versions)) < len(versions):
        raise CloudError(f"{where} {text!r}: want at most one address of each family")
    families = {_VERSIONS[family] for family in spec.ip_families if family in _VERSIONS}
    if wrong := [each for each in found if each.version not in families]:
        raise CloudError(
            f"{where} {text!r}: the Service has no IPv{wrong[0].version} address: see its "
            "spec.ipFamilies"
        )
    return found
