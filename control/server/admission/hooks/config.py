"""Webhooks as their configurations name them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from control.api.selectors import Labels
from control.server.admission.rules import Rule, read_rules, read_selector
from control.server.remote.webhook import Address, read_address

Wire = Mapping[str, Any]
_SECONDS = 10
_SAFE = ("None", "NoneOnDryRun")


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook; ``uid`` names it among all."""

    uid: str
    name: str
    configuration: str
    address: Address
    rules: tuple[Rule, ...]
    namespaces: Labels
    objects: Labels
    conditions: bytes  # in CEL, as JSON; empty for none
    ignores_failure: bool
    equivalent: bool
    dry_run_safe: bool
    seconds: int
    versions: tuple[str, ...]  # of AdmissionReview
    reinvoked: bool = False


def read_hooks(configuration: Wire) -> Iterator[Hook]:
    """Yield the webhooks of a configuration."""
    name = configuration["metadata"]["name"]
    seen: dict[str, int] = {}
    for wire in configuration.get("webhooks") or ():
        number = seen[wire["name"]] = seen.get(wire["name"], -1) + 1
        yield _hook(wire, name, f"{name}/{wire['name']}/{number}")


def _hook(wire: Wire, configuration: str, uid: str) -> Hook:
    conditions = wire.get("matchConditions") or ()
    return Hook(
        uid,
        wire["name"],
        configuration,
        read_address(wire.get("clientConfig") or {}),
        read_rules(wire.get("rules")),
        read_selector(wire.get("namespaceSelector")),
        read_selector(wire.get("objectSelector")),
        orjson.dumps(conditions) if conditions else b"",
        wire.get("failurePolicy") == "Ignore",
        wire.get("matchPolicy") != "Exact",
        wire.get("sideEffects") in _SAFE,
        wire.get("timeoutSeconds") or _SECONDS,
        tuple(wire.get("admissionReviewVersions") or ()),
        wire.get("reinvocationPolicy") == "IfNeeded",
    )
