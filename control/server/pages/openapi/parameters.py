"""The query parameters that operations take. Pure.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a URL: in its query, or in its path."""

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
    "What becomes of the objects that this one owns: Orphan, Background or Foreground.",
)
_LABELS = Parameter("labelSelector", "Only objects with labels that this selects.")
_FIELDS = Parameter("fieldSelector", "Only objects with fields that this selects.")

READ: tuple[Parameter, ...] = ()
WRITE = (
    _DRY_RUN,
    Parameter("fieldManager", "The name of who makes this change, such as a program's."),
    Parameter(
        "fieldValidation",
        "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
    ),
)
PATCH = (*WRITE, Parameter("force", "Take over what others have applied; apply only.", "boolean"))
DELETE = (_DRY_RUN, _GRACE, _PROPAGATION)
LIST = (
    Parameter("allowWatchBookmarks", "Send bookmarks in a watch, too.", "boolean"),
    Parameter("continue", "The token of the page before, to go on from there."),
    _FIELDS,
    _LABELS,
    Parameter("limit", "The most objects in one page.", "integer"),
    Parameter("resourceVersion", "How new the answer must be, or where a watch begins."),
    Parameter(
        "resourceVersionMatch", "What resourceVersion means to a list: Exact or NotOlderThan."
    ),
    Parameter("sendInitialEvents", "Begin a watch with all objects that there are.", "boolean"),
    Parameter("timeoutSeconds", "How long a watch lasts.", "integer"),
    Parameter("watch", "Answer with changes as they happen, not with a list.", "boolean"),
)
DELETE_ALL = (*DELETE, _FIELDS, _LABELS)

_PATH = {
    "namespace": "The namespace of the object.",
    "name": "The name of the object.",
}


def in_path(path: str) -> tuple[Parameter, ...]:
    """The parameters that a path has in braces."""
    return tuple(
        Parameter(name, text, place="path")
        for name, text in sorted(_PATH.items())
        if f"{{{name}}}" in path
    )
