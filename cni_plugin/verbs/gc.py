"""GC: remove what attachments that no longer exist have left.

Source: CNI specification 1.1.0, section 2, "GC".
"""

from collections.abc import Callable, Iterable
from functools import partial

from cni_plugin.ipam.source import Ipam
from cni_plugin.linux.host import Host
from cni_plugin.linux.namespace import Namespace
from cni_plugin.spec import names
from cni_plugin.spec.errors import CniError, RemovalFailedError
from cni_plugin.spec.kernel_state import Link
from cni_plugin.spec.request import Request
from cni_plugin.verbs import tuning
from cni_plugin.verbs.rule_owners import firewall_of


def collect(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Remove links, then rules, then reservations, also if one of these fails.

    Raises RemovalFailedError.
    """
    with Namespace() as host_ns:
        firewall = firewall_of(request, host, host_ns)
        removals: list[Callable[[], object]] = [
            partial(host.remove, host_ns, stale_links(request, host_ns.links())),
            partial(firewall.collect, spared_owners(request, host_ns.link)),
        ]
        if ipam is not None:
            removals.append(partial(ipam.collect, request))
        if request.conf.wiring == "chained":
            removals.append(partial(tuning.collect, request, host))
        attempt_all(removals)


def stale_links(request: Request, links: Iterable[Link]) -> list[str]:
    """The host's links that belong to this network and to no valid attachment; pure.

    The link's name has the network, also when a killed ADD never wrote the alias. The alias tells
    two networks apart whose digests begin alike.
    """
    network = request.conf.name
    valid = {
        name
        for attachment in request.valid
        for name in names.names_of(network, *attachment, wired=True).links
    }
    return [
        link.name
        for link in links
        if link.name.startswith(names.link_prefixes(network))
        and link.name not in valid
        and (not link.alias or link.alias.startswith(names.alias_prefix(network)))
    ]


def spared_owners(
    request: Request, find_link: Callable[[str], Link | None]
) -> Callable[[str], bool]:
    """Return a function that is true for owners whose firewall rules stay.

    These are owners of other networks, of valid attachments, and those that have a link.
    """
    network = request.conf.name
    valid = {
        names.attachment_of(names.names_of(network, *attachment, wired=wired).owner)
        for attachment in request.valid
        for wired in (True, False)
    }

    def is_spared(owner: str) -> bool:
        return (
            not names.is_owned_by(network, owner)
            or names.attachment_of(owner) in valid
            or find_link(owner) is not None
        )

    return is_spared


def attempt_all(removals: Iterable[Callable[[], object]]) -> None:
    """Call every function, also after one has failed.

    Raises RemovalFailedError with all errors.
    """
    errors: list[str] = []
    for removal in removals:
        try:
            removal()
        except CniError as err:
            errors.append(f"{err.message} ({err.details})" if err.details else err.message)
        except OSError as err:
            errors.append(str(err))
    if errors:
        raise RemovalFailedError(f"{len(errors)} removals failed: {errors[0]}", "; ".join(errors))
