"""What the programs of a bridge admit by policies, as entries of their maps: pure.

The programs see the frames between two Pods of this node, and ask nftables' rules about all that
the maps do not admit (``proxy/backends/ebpf/bpf/policy.h``). So an entry only ever admits. Two
things have none, and are left to the rules: named ports of egress, and Pods of cluster policies.
"""

from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from msgspec import Struct

from proxy.backends.ebpf.layout import pack_address, pack_admitted, pack_number
from proxy.backends.ebpf.policy import (
    BLOCKS,
    EVERYBODY,
    MEMBER,
    NOBODY,
    POSTS,
    AdmissionKey,
    Admissions,
    pack_doors,
    pack_peer,
    pack_post,
)
from proxy.model.values import Address, Network
from proxy.policy.index import PolicyIndex
from proxy.policy.numbers import Numbers
from proxy.policy.posts import Changes, Post
from proxy.policy.profile import Group, Profile
from proxy.policy.values import AddressRange, BlockPeer

_MAPPED = (0xFFFF << 32, (0x10000 << 32) - 1)  # ::ffff:0:0/96
_Entries = dict[AdmissionKey, bytes]


class AdmissionChange(Struct, frozen=True):
    """Entries to remove before the rules change, and entries to write after that.

    So the programs admit nothing that the rules before, or those after, would drop.
    """

    gone: list[AdmissionKey] = []
    put: Admissions = {}


class AdmissionTable:
    """The entries, by what they are there for. It numbers profiles and groups."""

    def __init__(self, index: PolicyIndex) -> None:
        self._index = index
        self._numbers = Numbers()
        self._held: dict[Hashable, _Entries] = {}

    def restart(self, changes: Changes) -> Admissions:
        """Return all entries, for empty maps. ``changes`` are everything."""
        self._held.clear()
        self._numbers = Numbers()
        return self.advance(changes).put

    def advance(self, changes: Changes) -> AdmissionChange:
        """Follow the index; return the change for maps that hold the state before."""
        made = AdmissionChange()
        put = dict(made.put)
        for owner, entries in self._wanted(changes):
            before = self._held.pop(owner, {})
            if entries:
                self._held[owner] = entries
            made.gone.extend(at for at, old in before.items() if entries.get(at) != old)
            put |= {at: new for at, new in entries.items() if before.get(at) != new}
            if isinstance(owner, Profile | frozenset) and not self._index.is_used(owner):
                self._numbers.forget(owner)
        for group, addresses in changes.moved.items():
            if isinstance(group, frozenset):
                self._move(group, addresses, made.gone, put)
        return AdmissionChange(made.gone, put)

    def _wanted(self, changes: Changes) -> Iterator[tuple[Hashable, _Entries]]:
        """Yield each owner with the entries that it shall have."""
        for address in changes.addresses:
            post = self._index.posts.get(address)
            yield address, self._post(address, post) if post else {}
        for profile in changes.profiles:
            used = self._index.is_used(profile)
            yield profile, dict(self._doors(profile)) if used else {}
        for group in changes.groups:
            yield group, self._group(group) if self._index.is_used(group) else {}

    def _move(
        self, group: Group, addresses: Iterable[Address], gone: list[AdmissionKey], put: _Entries
    ) -> None:
        """Look at some addresses of a group."""
        held = self._held.get(group)
        if held is None and not self._index.is_used(group):
            return
        held = self._held.setdefault(group, {})
        for address in addresses:
            at = pack_peer(self._numbers.of(group), address)
            if not self._index.has(group, address):
                if held.pop(at, None) is not None:
                    gone.append(at)
            elif at not in held:
                held[at] = put[at] = MEMBER

    def _post(self, address: Address, post: Post) -> _Entries:
        if any(post.courses()):
            return {}
        value = pack_post(self._pair(post.egress), self._pair(post.ingress))
        return {AdmissionKey(POSTS, pack_address(address)): value}

    def _pair(self, profile: Profile | None) -> tuple[int, int]:
        """Return the numbers of a profile's ports, and of the group that it always admits."""
        if profile is None:
            return NOBODY, EVERYBODY
        return self._numbers.of(profile) if profile.doors else 0, self._number(profile.always)

    def _number(self, group: Group | None) -> int:
        if group is None:
            return EVERYBODY
        return self._numbers.of(group) if group else NOBODY

    def _doors(self, profile: Profile) -> Iterator[tuple[AdmissionKey, bytes]]:
        for port, group in profile.doors:
            to = pack_number(self._number(group))
            doors = pack_doors(self._numbers.of(profile), port.protocol, port.first, port.last)
            yield from ((at, to) for at, _ in doors)

    def _group(self, group: Group) -> _Entries:
        number = self._numbers.of(group)
        peers = (pack_peer(number, address) for address in self._index.addresses(group))
        spans = (span for peer in group if isinstance(peer, BlockPeer) for span in peer.ranges)
        networks = (network for span in spans for network in _networks(span))
        blocks = (AdmissionKey(BLOCKS, pack_admitted(number, network)) for network in networks)
        return dict.fromkeys((*peers, *blocks), MEMBER)


def _networks(span: AddressRange) -> Iterator[Network]:
    """Yield the networks of a range. IPv6's are without those that stand for IPv4 in the maps."""
    if span.version == 4:
        yield from summarize_address_range(IPv4Address(span.first), IPv4Address(span.last))
        return
    before = (span.first, min(span.last, _MAPPED[0] - 1))
    after = (max(span.first, _MAPPED[1] + 1), span.last)
    for first, last in (before, after):
        if first <= last:
            yield from summarize_address_range(IPv6Address(first), IPv6Address(last))
