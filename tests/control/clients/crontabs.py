"""A kopf operator on the CronTabs of examples/custom: it writes their status."""

from typing import Any

import kopf

CRONTABS = ("example.com", "v1", "crontabs")


@kopf.on.create(*CRONTABS)
@kopf.on.update(*CRONTABS)
def seen(spec: Any, patch: Any, **_: Any) -> None:
    patch.status["seen"] = spec["schedule"]


@kopf.on.delete(*CRONTABS)
def gone(name: str, namespace: str, **_: Any) -> None:
    kopf.event(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        type="Normal",
        reason="Gone",
        message=name,
    )
