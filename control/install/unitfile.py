"""The text of systemd's unit files. Pure.

Source: systemd.syntax(7), systemd.service(5), systemd.socket(5)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from control.install.layout import Program

MARK = "# Written by podwire install or join; changes are lost."
WANTED = ("[Install]", "WantedBy=multi-user.target")
_RESTART = ("Restart=always", "RestartSec=1")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its file name and its text."""

    name: str
    text: str
    triggered: bool = False  # by a timer: nobody else starts it


@dataclass(frozen=True, slots=True)
class Service:
    """What differs between services; ``credentials`` are files of /etc/podwire that it may read."""

    part: str
    title: str
    argv: tuple[str, ...]
    settings: tuple[str, ...]
    after: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    credentials: tuple[Path, ...] = ()
    program: str = ""  # another one than podwire


def rendered(service: Service, program: Program) -> Unit:
    """Return the unit of a service that runs for as long as the machine."""
    name = f"podwire-{service.part}"
    return Unit(f"{name}.service", text(_unit(service), _service(service, program), WANTED))


def _unit(service: Service) -> tuple[str, ...]:
    # Ordered, not wanted: a network that is never "online" must not keep a start waiting.
    after = ("network.target", "network-online.target", *service.after, *service.requires)
    return (
        "[Unit]",
        f"Description=podwire {service.part}: {service.title}",
        f"After={' '.join(after)}",
        *([f"Wants={' '.join(service.wants)}"] if service.wants else []),
        *([f"Requires={' '.join(service.requires)}"] if service.requires else []),
        "StartLimitIntervalSec=0",
    )


def _service(service: Service, program: Program) -> tuple[str, ...]:
    own = (service.program, *service.argv) if service.program else program.argv(*service.argv)
    words = map(quoted, own)
    return (
        "[Service]",
        *environment(program),
        f"ExecStart={' '.join(words)}",
        *_RESTART,
        *(f"LoadCredential={path.name}:{path}" for path in service.credentials),
        *service.settings,
        # The agent must see every mount.
        "ProtectHome=no" if service.part in ("agent", "cni") else home(program),
    )


def home(program: Program) -> str:
    """Hide the homes of users, but not the program itself."""
    inside = any(
        Path(program.python).is_relative_to(home) for home in ("/home", "/root", "/run/user")
    )
    return f"ProtectHome={'read-only' if inside else 'yes'}"


def socket(part: str, listen: Iterable[str]) -> Unit:
    """Return the sockets of a part: they wait while it is restarted."""
    own = ("[Unit]", f"Description=podwire {part}: its sockets")
    sockets = ("[Socket]", *listen, "FreeBind=yes", "Backlog=512")
    return Unit(
        f"podwire-{part}.socket", text(own, sockets, ("[Install]", "WantedBy=sockets.target"))
    )


def timer(
    part: str, title: str, argv: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[Unit, Unit]:
    """Return a timer, and what it runs once a day: also after days without power."""
    about = ("[Unit]", f"Description=podwire {part}: {title}")
    times = ("[Timer]", "OnCalendar=daily", "RandomizedDelaySec=6h", "Persistent=yes")
    start = f"ExecStart={' '.join(map(quoted, argv))}"
    return (
        Unit(f"podwire-{part}.timer", text(about, times, ("[Install]", "WantedBy=timers.target"))),
        Unit(
            f"podwire-{part}.service",
            text(about, ("[Service]", "Type=oneshot", start, *settings)),
            triggered=True,
        ),
    )


def text(*sections: Iterable[str]) -> str:
    """Return the text of a unit; the first line of a section is its name."""
    return "\n".join([MARK, *("\n".join(lines) + "\n" for lines in sections)])


def file_flags(*pairs: tuple[str, str]) -> tuple[str, ...]:
    """Return flags whose values are a unit's copies of files."""
    return tuple(f"--{flag}=${{CREDENTIALS_DIRECTORY}}/{name}" for flag, name in pairs)


def quoted(word: str) -> str:
    """Write a word so that systemd takes it as it is, but for ${CREDENTIALS_DIRECTORY}."""
    variable = "${CREDENTIALS_DIRECTORY}"
    rest = word.replace(variable, "\0").replace("\\", "\\\\").replace('"', '\\"')
    rest = rest.replace("%", "%%").replace("$", "$$").replace("\0", variable)
    return f'"{rest}"' if any(letter in rest for letter in " \t'\"\\;") else rest


def environment(program: Program) -> tuple[str, ...]:
    """Return the lines that give a unit the program's environment."""
    return tuple(f"Environment={quoted(f'{name}={value}')}" for name, value in program.environment)
