"""What each kind and field means: the texts in fields/.

A line is ``Model.field: text``, or ``field: text`` where a field means the same in every model that
has it; ``Model: text`` stands for the model's own docstring. A field that holds a model may go
without: then the model's docstring stands there.
Source of the meanings: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files


def about(owners: Iterable[str], field: str) -> str:
    """What a field is for: as the first of its owners says, else as all do; empty if unsaid."""
    said = sayings()
    own = (said.get(f"{owner}.{field}") for owner in owners)
    return next(filter(None, own), "") or said.get(field, "")


@cache
def sayings() -> Mapping[str, str]:
    """The texts by ``Model.field``, ``field`` where it means the same in all, and ``Model``."""
    return {name: said for name, _, said in (line.partition(": ") for line in _lines())}


def _lines() -> Iterator[str]:
    for file in (files(__package__) / "fields").iterdir():
        text = file.read_text(encoding="utf-8")
        yield from (line for line in text.splitlines() if line and not line.startswith("#"))
