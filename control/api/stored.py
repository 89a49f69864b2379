"""The kinds that podwire stores, and does not act on. Pure.

They have no models: their fields are upstream's types, their schemas upstream's definitions.
"""

from importlib.resources import files

from control.api.kind import Kind
from control.api.meta import Object


def _kind(line: str) -> Kind:
    """Read a line of ``stored.txt``."""
    group, version, name, plural, scope, *words = line.split()

    def those(mark: str) -> tuple[str, ...]:
        return tuple(word.removeprefix(mark) for word in words if word.startswith(mark))

    return Kind(
        "" if group == "-" else group,
        version,
        name,
        plural,
        Object,
        scope == "namespaced",
        those("s="),
        those("c="),
        those("sub="),
    )


def _kinds() -> tuple[Kind, ...]:
    text = files(__package__).joinpath("stored.txt").read_text()
    return tuple(_kind(line) for line in text.splitlines() if not line.startswith("#"))


STORED = _kinds()
