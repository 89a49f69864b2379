"""Validate paths in Pods: of keys in volumes, of volumes in containers. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validateLocalDescendingPath,
ValidateLocalNonReservedPath, validatePathNoBacksteps)
"""

from control.api import field
from control.api.field import FieldError


def validate_no_backsteps(path: str, value: str) -> list[FieldError]:
    """Check that no part of a path is ``..``."""
    if ".." in value and ".." in value.split("/"):
        return [field.invalid(path, value, "must not contain '..'")]
    return []


def validate_descending(path: str, value: str) -> list[FieldError]:
    """Check that a path leads below the folder that it begins in."""
    found = [field.invalid(path, value, "must be a relative path")] if value[:1] == "/" else []
    return found + validate_no_backsteps(path, value)


def validate_local(path: str, value: str) -> list[FieldError]:
    """Check the path of a file in a volume: those that begin with ``..`` are the agent's own."""
    found = validate_descending(path, value)
    if value.startswith("..") and not value.startswith("../"):
        found.append(field.invalid(path, value, "must not start with '..'"))
    return found
