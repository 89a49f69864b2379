"""The firewall of a request, with the container of each rule's owner."""

from cni_plugin.firewall.backends import Firewall
from cni_plugin.ipam.local import lock_files
from cni_plugin.linux.host import Host
from cni_plugin.linux.namespace import Namespace
from cni_plugin.spec import names
from cni_plugin.spec.request import Request


def firewall_of(request: Request, host: Host, host_ns: Namespace) -> Firewall:
    """The host's firewall for the request's container.

    A wired owner exists as long as its link, whose alias names the container. A chained owner has
    no link: it counts as existing.
    """
    suffix = names.container_suffix(request.container_id)

    def container_of(owner: str) -> str:
        if names.is_chained(owner):
            return request.container_id if owner.endswith(f"-{suffix}") else owner
        link = host_ns.link(owner)
        if link is None:
            return ""
        attachment = names.parse_alias(link.alias)
        return owner if attachment is None else attachment[1]

    return Firewall(lock_files(request, host.root), request.container_id, container_of)
