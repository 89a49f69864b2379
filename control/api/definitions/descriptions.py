"""Read upstream's descriptions of its types and their fields, ``descriptions.txt``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """The texts about a type and about each of its fields; empty if upstream has none."""

    text: str
    fields: Mapping[str, str]


def descriptions() -> Mapping[str, TypeDescription]:
    """Return the texts by the type's short name; 600 KB are read at each call."""
    text = files(__package__).joinpath("descriptions.txt").read_text(encoding="utf-8")
    found: dict[str, TypeDescription] = {}
    fields: dict[str, str] = {}
    for line in text.split("\n")[:-1]:
        if line.startswith("\t"):
            _, name, said = line.split("\t")
            fields[name] = _lines(said)
        elif not line.startswith("#"):
            name, said = line.split("\t")
            fields = {}
            found[name] = TypeDescription(_lines(said), fields)
    return found


def _lines(text: str) -> str:
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))
