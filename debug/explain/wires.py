"""Leads a frame from a device to the one that receives it: over cables and bridges."""

from collections.abc import Iterator
from dataclasses import dataclass

from debug.explain.space import Space, Spaces
from debug.ruleset.packet import Address
from debug.ruleset.read.fib import LinkFact

_MOST = 4096  # links that are searched


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that a frame passes, from port to port."""

    space: Space
    link: LinkFact
    port_in: LinkFact
    port_out: LinkFact


@dataclass(frozen=True, slots=True)
class Post:
    """A link in its namespace, and the way there: the bridges that a frame passes.

    ``port`` is the one by which a frame comes to a bridge that receives it.
    """

    space: Space
    link: LinkFact
    bridges: tuple[Bridge, ...] = ()
    port: LinkFact | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """Who is to get a frame: by hardware address if a neighbor table has it, else by address."""

    address: Address
    mac: bytes | None

    def is_at(self, post: Post) -> bool:
        """Return True if a link is the one."""
        if self.mac is not None:
            return post.link.mac == self.mac
        index = post.link.device.index
        return any(
            link == index and one == self.address for link, one, *_ in post.space.fib.addresses
        )


class Wires:
    """The cables and bridges among all namespaces."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._ports: dict[tuple[Space, int], list[LinkFact]] = {}

    def receiver(self, space: Space, link: LinkFact, aim: Aim) -> Post | None:
        """Return where a frame that leaves through a link arrives; None if nobody takes it."""
        for post in self._reached(space, link):
            if aim.is_at(post):
                return post
        return None

    def leaves(self, space: Space, link: LinkFact) -> bool:
        """Return True if a frame may leave to where nothing can be looked into."""
        posts = (Post(space, link), *self._reached(space, link))
        return any(self._is_open(post) for post in posts)

    def _is_open(self, post: Post) -> bool:
        kind = post.link.device.kind
        if kind == "veth":
            return self._spaces.peer(post.space, post.link) is None
        return kind == "" and post.link.device.hardware == 1

    def _reached(self, space: Space, link: LinkFact) -> Iterator[Post]:
        """Yield the links that a frame reaches; it passes a bridge from port to port."""
        waiting = list(self._over_cable(Post(space, link)))
        if link.device.kind == "bridge":
            waiting = list(self._over_bridge(Post(space, link), link))
        seen = {(space.name, link.device.index)}
        while waiting and len(seen) < _MOST:
            post = waiting.pop(0)
            place = (post.space.name, post.link.device.index)
            if place in seen:
                continue
            seen.add(place)
            yield post
            waiting += self._onward(post)

    def _onward(self, post: Post) -> Iterator[Post]:
        """Yield what a frame reaches from a link that received it."""
        bridge = post.space.fib.links.get(post.link.master)
        if bridge is not None and bridge.device.kind == "bridge":
            yield Post(post.space, bridge, post.bridges, post.link)
            yield from self._over_bridge(post, bridge)

    def _over_bridge(self, post: Post, bridge: LinkFact) -> Iterator[Post]:
        """Yield what a frame reaches by the other ports; one that the bridge sends passes none."""
        for port in self._ports_of(post.space, bridge):
            if port.device.index != post.link.device.index and port.up:
                passed = Bridge(post.space, bridge, post.link, port)
                known = post.bridges if post.link is bridge else (*post.bridges, passed)
                yield from self._over_cable(Post(post.space, port, known))

    def _over_cable(self, post: Post) -> Iterator[Post]:
        other = (
            self._spaces.peer(post.space, post.link) if post.link.device.kind == "veth" else None
        )
        if other is not None and other[1].up:
            yield Post(*other, post.bridges)

    def _ports_of(self, space: Space, bridge: LinkFact) -> list[LinkFact]:
        key = (space, bridge.device.index)
        if key not in self._ports:
            links = space.fib.links.values()
            self._ports[key] = [one for one in links if one.master == bridge.device.index]
        return self._ports[key]
