"""What each field means: fields.txt, by model and field. Pure."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def about(model: str, field: str) -> str:
    """What a field of a model is for, or a field of that name in any model; empty if unsaid."""
    said = sayings()
    return said.get(f"{model}.{field}") or said.get(field, "")


@cache
def sayings() -> Mapping[str, str]:
    """The texts by ``Model.field``, or by ``field`` where it means the same in all models."""
    text = (files(__package__) / "fields.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: said for name, _, said in (line.partition(": ") for line in lines)}
