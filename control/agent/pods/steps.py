"""What a decision may ask for: ``decide`` chooses the actions, ``actions`` carries them out."""

from dataclasses import dataclass

from control.agent.pods.resizing import ContainerChange
from control.runtime.base import Resources

RESIZE = " resize"  # the name of its failures, which no container can have


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the Pod's sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Disconnect a sandbox in which no container runs."""

    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Remove a sandbox that cannot be used again, with its dead containers."""

    id: str


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container; ``attempt`` counts its earlier starts."""

    name: str
    attempt: int
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop a container; ``hook`` is True if its preStop hook is still due."""

    container_id: str
    name: str
    grace: float
    message: str
    hook: bool = True
    replaces: bool = False  # it starts again at once, however it ends


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove a dead container that is no longer needed for its log."""

    container_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Resize:
    """Change the resources of running containers, and of their Pod."""

    sandbox_id: str
    now: Resources
    wanted: Resources
    changes: tuple[ContainerChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Free:
    """Remove the remains of an evicted Pod, whose object stays: it had to make room."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Remove a Pod's remains, then its object: none of its containers runs."""


Action = (
    CreateSandbox | StopSandbox | RemoveSandbox | Start | Kill | Forget | Resize | Free | Finish
)


def key(action: Action) -> str:
    """Return what two actions that must not run at the same time share."""
    match action:
        case CreateSandbox() | Free() | Finish():
            return "sandbox"
        case Resize():
            return RESIZE
        case StopSandbox() | RemoveSandbox():
            return f"sandbox {action.id}"
        case Start():
            return f"start {action.name}"
        case Kill() | Forget():
            return f"end {action.container_id}"
