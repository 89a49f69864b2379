"""What a check finds: the same values below text, JSON, pictures and pages."""

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """How bad a finding is. What could not be read or evaluated is unknown, never a guess."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"

    @property
    def weight(self) -> int:
        """The place among all levels: ok is 0, fail the highest."""
        return list(Level).index(self)


class Finding(Struct, frozen=True, omit_defaults=True):
    """One answer of one check."""

    check: str  # the check's name, such as "mtu"
    level: Level
    summary: str  # one sentence: what is so
    node: str = ""
    about: str = ""  # the object, such as "Service default/web" or "link podwire-vxlan"
    evidence: tuple[str, ...] = ()  # what was read, and where
    cause: str = ""
    consequence: str = ""
    fix: str = ""  # a command, or a sentence
    link: str = ""  # where it is explained
