"""ValidatingAdmissionPolicies to test with."""

from typing import Any

from tests.support.control.webhook import ADMISSION

POLICIES = f"{ADMISSION}/validatingadmissionpolicies"
BINDINGS = f"{ADMISSION}/validatingadmissionpolicybindings"
Wire = dict[str, Any]
CONFIG_MAPS = {
    "operations": ["CREATE", "UPDATE"],
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "resources": ["configmaps"],
}


def policy(*validations: Any, name: str = "p", rule: Wire | None = None, **spec: Any) -> Wire:
    """Return a policy about new and changed ConfigMaps; a validation may be its expression."""
    given = [it if isinstance(it, dict) else {"expression": it} for it in validations]
    constraints = {"resourceRules": [rule or CONFIG_MAPS]}
    made = {"matchConstraints": constraints} | ({"validations": given} if given else {})
    return {"metadata": {"name": name}, "spec": made | spec}


def binding(*actions: str, name: str = "b", policy_name: str = "p", **spec: Any) -> Wire:
    made = {"policyName": policy_name, "validationActions": list(actions or ("Deny",))}
    return {"metadata": {"name": name}, "spec": made | spec}
