"""GC: what is left of attachments that are no more.

Source: CNI specification 1.1.0, "GC".
"""

from collections.abc import Callable, Iterable

from cni_plugin.spec import names
from cni_plugin.spec.errors import CniError, RemovalFailedError
from cni_plugin.spec.request import Request
from cni_plugin.spec.seen import Link


def stale_links(request: Request, links: Iterable[Link]) -> list[str]:
    """The host's links that belong to this network, and to no valid attachment; pure.

    The name says so by itself, also when a killed ADD never wrote the alias; the alias keeps apart
    two networks whose names happen to begin alike.
    """
    network = request.conf.name
    valid = {
        name(network, *attachment)
        for attachment in request.valid
        for name in (names.host_ifname, names.ifb_ifname)
    }
    return [
        link.name
        for link in links
        if link.name.startswith(names.host_prefixes(network))
        and link.name not in valid
        and (not link.alias or link.alias.startswith(names.alias_prefix(network)))
    ]


def is_spared(request: Request, link: Callable[[str], Link | None], owner: str) -> bool:
    """Whether a firewall rule's owner is of another network, valid, or plainly there."""
    network = request.conf.name
    valid = {
        names.attachment_of(names.owner(network, *attachment, wired=wired))
        for attachment in request.valid
        for wired in (True, False)
    }
    known = names.attachment_of(owner) in valid
    return not names.owned_by(network, owner) or known or link(owner) is not None


def attempt_all(attempts: Iterable[Callable[[], object]]) -> None:
    """Make every attempt, whatever became of those before; raises all errors as one."""
    errors: list[str] = []
    for attempt in attempts:
        try:
            attempt()
        except CniError as err:
            errors.append(f"{err.message} ({err.details})" if err.details else err.message)
        except OSError as err:
            errors.append(str(err))
    if errors:
        raise RemovalFailedError(f"{len(errors)} removals failed: {errors[0]}", "; ".join(errors))
