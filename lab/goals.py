"""A port of the host that leads to a Service of a lab. Values only."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

REQUEST = b"publish "
TITLE = "podwire published "


@dataclass(frozen=True, slots=True)
class Goal:
    """A port of a Service, by number or name; ``protocol`` is tcp or udp."""

    namespace: str
    service: str
    port: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Published:
    """An address and port of the host, and what answers there."""

    address: str
    port: int
    goal: Goal

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        goal = self.goal
        return f"{host}:{self.port} → {goal.namespace}/{goal.service}:{goal.port}/{goal.protocol}"

    def encode(self, kubeconfig: Path) -> bytes:
        """Return the request for the keeper; ``kubeconfig`` is how the lab's inside asks."""
        return json.dumps(asdict(self) | {"kubeconfig": str(kubeconfig)}).encode()

    def title(self) -> str:
        """Return the title of the process, from which ``from_title`` reads it again."""
        goal = self.goal
        words = self.address, self.port, goal.namespace, goal.service, goal.port, goal.protocol
        return TITLE + " ".join(map(str, words))

    @classmethod
    def from_title(cls, title: str) -> "Published | None":
        """Read a process's title; None if it publishes nothing."""
        words = title.removeprefix(TITLE).split()
        if not title.startswith(TITLE) or len(words) != 6:
            return None
        return cls(words[0], int(words[1]), Goal(*words[2:]))

    @classmethod
    def parse(cls, document: dict[str, object]) -> "Published":
        """Read what ``encode`` wrote; raises KeyError, TypeError, ValueError."""
        goal = document["goal"]
        if not isinstance(goal, dict):
            raise TypeError("goal: want an object")
        return cls(str(document["address"]), int(str(document["port"])), Goal(**goal))
