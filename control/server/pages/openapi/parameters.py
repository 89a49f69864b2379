"""The query and path parameters of operations. Pure.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/
"""

from msgspec import Struct


class Parameter(Struct, frozen=True):
    """One parameter in the query or the path of a URL."""

    name: str
    description: str
    type: str = "string"
    place: str = "query"


_DRY_RUN = Parameter("dryRun", "All: go through all steps, but persist nothing.")
_GRACE = Parameter(
    "gracePeriodSeconds",
    "The seconds that the object has to end; zero deletes it at once.",
    "integer",
)
_PROPAGATION = Parameter(
    "propagationPolicy",
    "What happens to the objects that this one owns: Orphan, Background or Foreground.",
)
_LABELS = Parameter("labelSelector", "Only objects with labels that this selects.")
_FIELDS = Parameter("fieldSelector", "Only objects with fields that this selects.")

READ: tuple[Parameter, ...] = ()
WRITE = (
    _DRY_RUN,
    Parameter("fieldManager", "The name of the program or user that makes this change."),
    Parameter(
        "fieldValidation",
        "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
    ),
)
PATCH = (*WRITE, Parameter("force", "Take over what others have applied; apply only.", "boolean"))
DELETE = (_DRY_RUN, _GRACE, _PROPAGATION)
LIST = (
    Parameter("allowWatchBookmarks", "Send bookmarks in a watch, too.", "boolean"),
    Parameter("continue", "The token of the previous page; the list continues after it."),
    _FIELDS,
    _LABELS,
    Parameter("limit", "The most objects in one page.", "integer"),
    Parameter("resourceVersion", "The minimum version of the answer, or the start of a watch."),
    Parameter(
        "resourceVersionMatch", "What resourceVersion means to a list: Exact or NotOlderThan."
    ),
    Parameter("sendInitialEvents", "Begin a watch with all present objects.", "boolean"),
    Parameter("timeoutSeconds", "How long a watch lasts.", "integer"),
    Parameter("watch", "Send changes as they happen, in place of a list.", "boolean"),
)
DELETE_ALL = (*DELETE, _FIELDS, _LABELS)

_PATH = {
    "namespace": "The namespace of the object.",
    "name": "The name of the object.",
}


def in_path(path: str) -> tuple[Parameter, ...]:
    """Return the parameters that a path has in braces."""
    return tuple(
        Parameter(name, text, place="path")
        for name, text in sorted(_PATH.items())
        if f"{{{name}}}" in path
    )
