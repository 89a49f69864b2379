"""Whether a container that has ended starts again. Pure.

A container's own policy and rules (KEP-5307) come before the Pod's.
Source: k8s.io/kubernetes/pkg/api/v1/pod, ContainerShouldRestart
"""

from collections.abc import Mapping
from typing import Any

from control.api.container import Container
from control.api.pod import Pod


def restarts(pod: Pod, spec: Container, exit_code: int) -> bool:
    """Return True if the container starts again after this exit code."""
    if spec.restart_policy and any(_matches(it, exit_code) for it in spec.restart_policy_rules):
        return True
    policy = spec.restart_policy or pod.spec.restart_policy or "Always"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _matches(rule: Mapping[str, Any], exit_code: int) -> bool:
    """True if a rule restarts this container; RestartAllContainers is not there yet."""
    codes = rule.get("exitCodes") or {}
    among = exit_code in (codes.get("values") or ())
    wanted = among if codes.get("operator") == "In" else not among
    return rule.get("action") == "Restart" and wanted
