"""Read the descriptions of kinds and fields from the texts in fields/.

A line is ``Model.field: text``, or ``field: text`` if a field has the same meaning in every model.
``Model: text`` replaces the model's docstring. A field that holds a model needs no line: it gets
the model's docstring. Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files


def field_description(owners: Iterable[str], field: str) -> str:
    """Return a field's text: the first owner's, else the one for all models, else empty."""
    said = texts()
    own = (said.get(f"{owner}.{field}") for owner in owners)
    return next(filter(None, own), "") or said.get(field, "")


@cache
def texts() -> Mapping[str, str]:
    """Return the texts by ``Model.field``, ``field`` and ``Model``."""
    return {name: said for name, _, said in (line.partition(": ") for line in _lines())}


def _lines() -> Iterator[str]:
    for file in (files(__package__) / "fields").iterdir():
        text = file.read_text(encoding="utf-8")
        yield from (line for line in text.splitlines() if line and not line.startswith("#"))
