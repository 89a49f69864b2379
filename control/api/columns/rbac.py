"""The table columns of roles and bindings. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from control.api.columns.base import AGE, NAME, Cell, Column, Columns, Wire, age_of, name_of, wide


def _binding(binding: Wire, now: datetime) -> Sequence[Cell]:
    role = binding.get("roleRef", {})
    return (
        name_of(binding),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age_of(binding, now),
        ", ".join(_names(binding, "User")),
        ", ".join(_names(binding, "Group")),
        ", ".join(_names(binding, "ServiceAccount")),
    )


def _names(binding: Wire, kind: str) -> Iterator[str]:
    for subject in binding.get("subjects") or ():
        if subject.get("kind") == kind:
            name = subject.get("name", "")
            yield f"{subject.get('namespace', '')}/{name}" if kind == "ServiceAccount" else name


BINDING = Columns(
    (NAME, Column("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")), _binding
)
