"""How lists merge: the strategic-merge extensions of upstream's schemas, beside the fields.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
and KEP-555 for the list types of server-side apply.
"""

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from control.api.base import Model


@dataclass(frozen=True, slots=True)
class Merge:
    """Stands in a field's ``Annotated``: items with the same ``key`` are one; without, sets."""

    key: str = ""
    map_keys: tuple[str, ...] = ()  # what identifies an item for server-side apply, if not `key`
    merges: bool = True  # False: an atomic list that still has a key
    retain_keys: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """Stands in the ``Annotated`` of JSON that is kept as it came: the model that describes it."""

    model: type[Model]


@dataclass(frozen=True, slots=True)
class Shape:
    """What merging has to know of one field."""

    model: type[Model] | None = None  # of the value, or of the items of a list
    merge: Merge | None = None


@cache
def shapes(model: type[Model]) -> dict[str, Shape]:
    """The shape of every field of a model, by wire name."""
    return {
        info.alias or name: Shape(
            outline(info) or _model_in(info.annotation),
            next((found for found in info.metadata if isinstance(found, Merge)), None),
        )
        for name, info in model.model_fields.items()
    }


def outline(info: FieldInfo) -> type[Model] | None:
    """The model that describes a field that is kept as JSON."""
    return next((found.model for found in info.metadata if isinstance(found, Outline)), None)


def _model_in(annotation: Any) -> type[Model] | None:
    """The model in ``X``, ``X | None`` or ``list[X]``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    if get_origin(annotation) in (list, Union, UnionType):
        return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
    return None
