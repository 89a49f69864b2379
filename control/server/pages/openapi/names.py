"""Name the schema of each model as upstream does, so that clients recognize it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from control.api import meta
from control.api.base import Model
from control.api.kinds import KINDS
from control.api.merging import shapes
from control.server.pages.openapi.models import MODELS, DeleteOptions

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
Gvk = tuple[str, str, str]  # group, version, kind


@cache
def typed() -> Mapping[Gvk, type[Model]]:
    """Return the models that have a kind of their own, by group, version and kind."""
    found: dict[Gvk, type[Model]] = {(k.group, k.version, k.name): k.model for k in KINDS}
    return found | {(*group, model.__name__): model for model, group in MODELS.items()}


@cache
def names() -> Mapping[type[Model], str]:
    """Return the name of every model's schema; the first kind that uses a part names it."""
    common = below([DeleteOptions, meta.Status, meta.ListMeta])
    found = {model: f"{META}.{model.__name__}" for model in common}
    for (group, version, _), root in typed().items():
        for model in below([root]):
            inside = model.__module__ == meta.__name__
            package = META if inside else package_of(group, version)
            found.setdefault(model, f"{package}.{model.__name__}")
    return found


def message_of(model: type[Model]) -> str:
    """Return the name of a model's message in ``messages.txt``, if it has one there."""
    name = names()[model]
    if name.startswith(f"{META}."):
        return f"meta.{model.__name__}"
    return f"{name.split('.')[3]}.{model.__name__}"


def package_of(group: str, version: str) -> str:
    """Return the schema package of a group, such as ``io.k8s.api.apps.v1``."""
    return f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}"


def below(roots: Iterable[type[Model]]) -> Iterator[type[Model]]:
    """Yield the models and all models that their fields use, each once."""
    seen: set[type[Model]] = set()
    waiting = list(roots)
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen.add(model)
            yield model
            waiting += [shape.model for shape in shapes(model).values() if shape.model]
