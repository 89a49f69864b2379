"""Which Pods belong to each peer that rules name, kept up to date Pod by Pod: pure."""

from collections.abc import Iterator, Mapping, Set

from proxy.model.values import Key
from proxy.policy.peers.selectors import selects
from proxy.policy.values import Namespace, Pod, PodPeer


class Members:
    """The Pods of the peers that are followed."""

    def __init__(self, pods: Mapping[Key, Pod], namespaces: Mapping[str, Namespace]) -> None:
        """Both mappings are those of all objects; their owner keeps them up to date."""
        self._pods = pods
        self._namespaces = namespaces
        self._of: dict[PodPeer, set[Key]] = {}
        self._keys: dict[str, set[Key]] = {}  # the Pods of a namespace
        # The peers that look into one namespace, and, under None, those that look into all.
        self._peers: dict[str | None, set[PodPeer]] = {}

    def follow(self, peer: PodPeer) -> None:
        """Know the Pods of a peer from now on."""
        self._peers.setdefault(peer.namespace, set()).add(peer)
        keys = self._pods if peer.namespace is None else self._keys.get(peer.namespace, ())
        self._of[peer] = {key for key in keys if self._belongs(peer, self._pods[key])}

    def leave(self, peer: PodPeer) -> None:
        """Forget a peer."""
        self._peers[peer.namespace].discard(peer)
        del self._of[peer]

    def of(self, peer: PodPeer) -> Set[Key]:
        """Return the Pods of a peer that is followed."""
        return self._of[peer]

    def renew(self, key: Key, pod: Pod | None, moved: bool) -> set[PodPeer]:
        """Look again at one Pod; return the peers for which something changed.

        ``moved`` says that its addresses or ports did.
        """
        here = self._keys.setdefault(key[0], set())
        here.discard(key) if pod is None else here.add(key)
        changed = set()
        for peer in self._looking_into(key[0]):
            members = self._of[peer]
            was, belongs = key in members, pod is not None and self._belongs(peer, pod)
            if was and not belongs:
                members.discard(key)
            elif belongs and not was:
                members.add(key)
            if was != belongs or (was and moved):
                changed.add(peer)
        return changed

    def renew_namespace(self, name: str) -> set[PodPeer]:
        """Look again at the Pods of a namespace whose labels changed."""
        changed: set[PodPeer] = set()
        for key in self._keys.get(name, ()):
            changed |= self.renew(key, self._pods[key], False)
        return changed

    def peers_with(self, key: Key) -> set[PodPeer]:
        """Return the peers that a Pod belongs to."""
        return {peer for peer in self._looking_into(key[0]) if key in self._of[peer]}

    def _looking_into(self, namespace: str) -> Iterator[PodPeer]:
        yield from self._peers.get(namespace, ())
        yield from self._peers.get(None, ())

    def _belongs(self, peer: PodPeer, pod: Pod) -> bool:
        if peer.namespaces is not None:
            namespace = self._namespaces.get(pod.key[0])
            if namespace is None or not selects(peer.namespaces, namespace.labels):
                return False
        return selects(peer.pods, pod.labels)
