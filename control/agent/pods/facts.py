"""The facts about a Pod besides its object: what runs, what failed, what it should have."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from control.agent.pods.backoff import Failure, Streak
from control.runtime.base import Container, Resources, Sandbox


@dataclass(frozen=True, slots=True)
class PodFacts:
    """The facts about a Pod besides its object."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()
    gone: bool = False  # the API has no object any more: it was deleted without us
    over: str = ""  # the reason why the Pod has failed as a whole, such as DeadlineExceeded
    why: str = ""  # the message that explains ``over``
    most_grace: float = math.inf  # seconds that are left to the Pod, whatever it asks for
    sick: Mapping[str, str] = field(default_factory=dict)  # container ID -> why it has to restart
    started: frozenset[str] = frozenset()  # IDs of containers whose startup probe has succeeded
    streaks: Mapping[str, Streak] = field(default_factory=dict)  # by container name
    failures: Mapping[str, Failure] = field(default_factory=dict)  # by name; "" is the sandbox
    hashes: Mapping[str, str] = field(default_factory=dict)  # container name -> hash of its spec
    # What each container, by its name, and the Pod should be held to.
    wanted: Mapping[str, Resources] = field(default_factory=dict)
    whole: Resources | None = None
    replaced: frozenset[str] = frozenset()  # IDs of containers that were ended to start again


def latest(containers: tuple[Container, ...], name: str) -> Container | None:
    """Return the newest container of a name, if there is one."""
    named = [container for container in containers if container.name == name]
    return max(named, key=lambda container: (container.attempt, container.created), default=None)


def ready_sandbox(facts: PodFacts) -> Sandbox | None:
    """Return the newest usable sandbox, if there is one."""
    usable = [sandbox for sandbox in facts.sandboxes if sandbox.ready]
    return max(usable, key=lambda sandbox: (sandbox.attempt, sandbox.created), default=None)
