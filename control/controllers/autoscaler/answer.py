"""What one metric of an autoscaler answers: a proposal, or why there is none."""

from dataclasses import dataclass
from typing import Any

from control.controllers.autoscaler.replicas import Proposal


@dataclass(frozen=True, slots=True)
class Failure:
    """A metric that says nothing: the reason and message of its Event, and what they led to."""

    reason: str
    message: str
    summary: str


# A proposal, the metric's name in messages, and its part of the status.
Answer = tuple[Proposal, str, dict[str, Any]] | Failure
