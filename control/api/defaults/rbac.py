"""Defaults of role bindings. Pure.

Source: k8s.io/kubernetes/pkg/apis/rbac/v1 (defaults.go).
"""

from control.api.defaults.edit import Wire, filled, within, within_each
from control.api.rbac import GROUP


def default_binding(binding: Wire) -> Wire:
    """Set the API group of the role and of each user and group."""
    made = within(binding, "roleRef", lambda role: filled(role, {"apiGroup": GROUP}))
    return within_each(made, "subjects", _subject)


def _subject(subject: Wire) -> Wire:
    if subject.get("kind") in ("User", "Group"):
        return filled(subject, {"apiGroup": GROUP})
    return subject
