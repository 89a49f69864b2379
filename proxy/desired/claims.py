"""Who gets an address and port that several Services claim: pure, and incremental.

The lower kind wins, then the first name, so that an externalIP never takes another Service's
ClusterIP away (CVE-2020-8554), and every node and backend decides alike.
"""

from collections.abc import Iterator
from typing import NamedTuple

from proxy.desired.desired import Desired
from proxy.desired.portals import Forward, Frontend, FrontendKind, Portal, forwards
from proxy.model.settings import ProxySettings
from proxy.model.values import Key


class FrontendClaim(NamedTuple):
    """A portal's wish to serve a frontend; claims sort by who wins."""

    kind: FrontendKind
    service: Key
    position: int  # among the Service's own claims
    portal: Portal
    forward: Forward

    @property
    def rank(self) -> tuple[FrontendKind, Key, int]:
        """What claims are sorted by."""
        return self.kind, self.service, self.position


class WinnerChange(NamedTuple):
    """A frontend whose winner changed."""

    frontend: Frontend
    before: FrontendClaim | None
    after: FrontendClaim | None


class ClaimResolver:
    """The winners for a desired state, kept up to date Service by Service."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._have = Desired()
        self._rivals: dict[Frontend, list[FrontendClaim]] = {}  # best first; nearly always one

    def winners(self) -> Iterator[tuple[Frontend, FrontendClaim]]:
        """Every frontend with who serves it."""
        return ((frontend, rivals[0]) for frontend, rivals in self._rivals.items())

    def update(self, want: Desired) -> list[WinnerChange]:
        """Move to ``want``; returns what changed."""
        before: dict[Frontend, FrontendClaim | None] = {}
        for key in want.changed_since(self._have):
            for claim, frontend in self._claims(key, self._have.portals_of(key)):
                before.setdefault(frontend, self._winner(frontend))
                self._withdraw(frontend, claim)
            for claim, frontend in self._claims(key, want.portals_of(key)):
                before.setdefault(frontend, self._winner(frontend))
                self._enter(frontend, claim)
        self._have = want
        steps = (WinnerChange(one, was, self._winner(one)) for one, was in before.items())
        return [step for step in steps if step.before != step.after]

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

    def _enter(self, frontend: Frontend, claim: FrontendClaim) -> None:
        rivals = self._rivals.setdefault(frontend, [])
        rivals.append(claim)
        rivals.sort(key=lambda rival: rival.rank)
