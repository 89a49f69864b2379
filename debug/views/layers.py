"""Reads what every back end has in a node's kernel, whichever there are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from debug.places import Place, PlaceError, inside
from debug.views import kube_proxy
from proxy.backends.ebpf.installed import maps as ebpf
from proxy.backends.installed import Layer
from proxy.backends.iptables import installed as iptables
from proxy.backends.iptables.tool import Flavor
from proxy.backends.nftables import installed as nftables
from proxy.model.errors import KernelRefusedError

T = TypeVar("T")


class UnreadError(Exception):
    """A node's kernel could not be read; the text says why."""


def read(place: Place) -> tuple[Layer, ...]:
    """Return what is installed on a node, of each back end that has anything; see ``here``.

    Raises UnreadError.
    """
    try:
        return inside(place, lambda: tuple(here(place.root)))
    except (KernelRefusedError, PlaceError, OSError) as err:
        raise UnreadError(str(err)) from err


def here(root: Path = Path("/")) -> Iterator[Layer]:
    """Yield what this thread's network namespace has; ``root`` are the files of its node.

    The first is the one that serves first. Raises KernelRefusedError.
    """
    rules = nftables.installed()
    if rules is not None:
        maps = ebpf.installed(rules.frontends, root)
        yield from (layer for layer in (maps, rules) if layer is not None)
    readers: list[Callable[[], Layer | None]] = [
        lambda: iptables.installed(Flavor.NFT),
        lambda: iptables.installed(Flavor.LEGACY),
        kube_proxy.installed,
    ]
    for reader in readers:
        if (layer := reader()) is not None:
            yield layer
