"""The merge rules of strategic merge patches: upstream's extensions, as annotations of fields.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
`markers.txt` in ``control/api/types`` has the rules of server-side apply.
"""

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from control.api.base import Model


@dataclass(frozen=True, slots=True)
class Merge:
    """An annotation: list items with the same ``key`` merge; without a key, the list is a set."""

    key: str = ""
    merges: bool = True  # False: an atomic list that has a key
    retain_keys: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """An annotation of raw JSON: the model that describes it."""

    model: type[Model]


@dataclass(frozen=True, slots=True)
class Shape:
    """The merge rule of one field."""

    model: type[Model] | None = None  # the model of the value, or of a list's items
    merge: Merge | None = None


@cache
def shapes(model: type[Model]) -> dict[str, Shape]:
    """Return the merge rule of every field of a model, by wire name."""
    return {
        info.alias or name: Shape(
            outline(info) or _model_in(info.annotation),
            next((found for found in info.metadata if isinstance(found, Merge)), None),
        )
        for name, info in model.model_fields.items()
    }


def outline(info: FieldInfo) -> type[Model] | None:
    """Return the model that describes a field of raw JSON; None for other fields."""
    return next((found.model for found in info.metadata if isinstance(found, Outline)), None)


def _model_in(annotation: Any) -> type[Model] | None:
    """Return the model in ``X``, ``X | None`` or ``list[X]``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    if get_origin(annotation) in (list, Union, UnionType):
        return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
    return None
