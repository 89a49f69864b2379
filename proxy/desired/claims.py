"""Decides which Service serves an address and port that several claim: pure and incremental.

The lower kind of frontend wins, then the first name. So an externalIP never takes another Service's
ClusterIP away (CVE-2020-8554), and every node and backend decides alike.
"""

from collections.abc import Iterator
from typing import NamedTuple

from proxy.desired.desired import Desired
from proxy.desired.portals import Forward, Frontend, FrontendKind, Portal, forwards
from proxy.model.settings import ProxySettings
from proxy.model.values import Frozen, Key


class FrontendClaim(Frozen, frozen=True):
    """A portal's claim to serve a frontend. The claim with the lowest ``rank`` wins."""

    kind: FrontendKind
    service: Key
    position: int  # among the Service's own claims
    portal: Portal
    forward: Forward

    @property
    def rank(self) -> tuple[FrontendKind, Key, int]:
        """The sort key of claims."""
        return self.kind, self.service, self.position


class WinnerChange(NamedTuple):
    """A frontend whose winning claim changed."""

    frontend: Frontend
    before: FrontendClaim | None
    after: FrontendClaim | None


class ClaimResolver:
    """The winning claims of a desired state, kept up to date Service by Service."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._have = Desired()
        # The winner is first. Nearly always it is the only one.
        self._rivals: dict[Frontend, list[FrontendClaim]] = {}

    def winners(self) -> Iterator[tuple[Frontend, FrontendClaim]]:
        """Yield every frontend with its winning claim."""
        return ((frontend, rivals[0]) for frontend, rivals in self._rivals.items())

    def update(self, want: Desired) -> list[WinnerChange]:
        """Move to ``want``; return the frontends whose winner changed."""
        before: dict[Frontend, FrontendClaim | None] = {}
        for key in want.changed_since(self._have):
            for claim, frontend in self._claims(key, self._have.portals_of(key)):
                before.setdefault(frontend, self._winner(frontend))
                self._withdraw(frontend, claim)
            for claim, frontend in self._claims(key, want.portals_of(key)):
                before.setdefault(frontend, self._enter(frontend, claim))
        self._have = want
        changes = (WinnerChange(at, was, self._winner(at)) for at, was in before.items())
        return [change for change in changes if change.before != change.after]

    def _claims(
        self, key: Key, portals: tuple[Portal, ...]
    ) -> Iterator[tuple[FrontendClaim, Frontend]]:
        position = 0
        for portal in portals:
            for frontend, forward in forwards(portal, self._settings):
                yield FrontendClaim(forward.kind, key, position, portal, forward), frontend
                position += 1

    def _winner(self, frontend: Frontend) -> FrontendClaim | None:
        rivals = self._rivals.get(frontend)
        return rivals[0] if rivals else None

    def _withdraw(self, frontend: Frontend, claim: FrontendClaim) -> None:
        rivals = self._rivals[frontend]
        rivals[:] = [rival for rival in rivals if rival.rank != claim.rank]
        if not rivals:
            del self._rivals[frontend]

    def _enter(self, frontend: Frontend, claim: FrontendClaim) -> FrontendClaim | None:
        """Add a claim; return the winner before."""
        rivals = self._rivals.setdefault(frontend, [])
        before = rivals[0] if rivals else None
        rivals.append(claim)
        if before:
            rivals.sort(key=lambda rival: rival.rank)
        return before
