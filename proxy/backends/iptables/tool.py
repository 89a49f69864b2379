"""The iptables commands: detecting the flavor in use, reading rules, writing them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from proxy.linux.nft_names import chains
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

_LOCK_SECONDS = 10  # how long to wait for another program's xtables lock
_HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")  # KEP-3178: kubelet's chains show its flavor


class Flavor(StrEnum):
    """The kernel interface behind the iptables command."""

    LEGACY = "legacy"
    NFT = "nft"


@dataclass(frozen=True, slots=True)
class IptablesTool:
    """The iptables commands of one family and flavor."""

    family: Family
    flavor: Flavor

    def save(self) -> str:
        """Return every rule of the family, as text. Raises KernelRefusedError."""
        return self._run("save", b"")

    def restore(self, transaction: bytes) -> None:
        """Commit one transaction; other chains stay. Raises KernelRefusedError."""
        self._run("restore", transaction, "--noflush", "-w", str(_LOCK_SECONDS))

    @property
    def exists(self) -> bool:
        """True if the command is installed."""
        return shutil.which(self._command("restore")) is not None

    def _command(self, verb: str) -> str:
        return f"{_prefix(self.family)}-{self.flavor}-{verb}"

    def _run(self, verb: str, stdin: bytes, *args: str) -> str:
        command = self._command(verb)
        try:
            done = subprocess.run([command, *args], input=stdin, capture_output=True, check=False)
        except OSError as err:
            raise KernelRefusedError(
                f"{command} cannot be run: {err.strerror}; install iptables"
            ) from err
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()
            raise KernelRefusedError(f"{command}: {message}", _rejected_line(message, stdin))
        return done.stdout.decode(errors="replace")


def _prefix(family: Family) -> str:
    return "iptables" if family is Family.V4 else "ip6tables"


def _rejected_line(message: str, stdin: bytes) -> str:
    """Return the line that iptables-restore names in "line N failed"; empty if it names none."""
    named = re.search(r"\bline:? (\d+)\b", message)
    lines = stdin.decode().splitlines()
    number = int(named[1]) if named else 0
    return lines[number - 1] if 0 < number <= len(lines) else ""


def detect(proc: Path = Path("/proc")) -> Flavor:
    """Return the flavor that this node uses.

    The rules are those of upstream's iptables-wrappers: kubelet's hint chain decides, then chains
    of ours, then the flavor with more rules, then the ``iptables`` command.
    """
    if not IptablesTool(Family.V4, Flavor.LEGACY).exists:
        return Flavor.NFT
    found = {
        flavor: _rules(flavor, proc) for flavor in Flavor if IptablesTool(Family.V4, flavor).exists
    }
    for wanted in (*_HINTS, ":KUBE-SERVICES"):
        for flavor, rules in found.items():
            if wanted in rules:
                return flavor
    counts = {flavor: rules.count("\n-A ") for flavor, rules in found.items()}
    if not any(counts.values()):  # a change of mode leaves empty tables
        return _default()
    return max(counts, key=lambda flavor: counts[flavor])


def has_ours(tool: IptablesTool) -> bool:
    """Return True if there may be chains of ours. Raises KernelRefusedError."""
    if tool.flavor is Flavor.LEGACY:
        return in_use(tool) and ":KUBE-" in tool.save()
    return tool.exists and any(name.startswith("KUBE-") for _, name in chains(tool.family))


def in_use(tool: IptablesTool, proc: Path = Path("/proc")) -> bool:
    """Return True if the flavor may hold rules here.

    Listing legacy tables creates them, so their names are read first.
    """
    if not tool.exists:
        return False
    if tool.flavor is Flavor.NFT:
        return True
    names = proc / "net" / ("ip_tables_names" if tool.family is Family.V4 else "ip6_tables_names")
    try:
        return bool(names.read_text().strip())
    except OSError:  # the kernel module has never been loaded
        return False


def _rules(flavor: Flavor, proc: Path) -> str:
    tool = IptablesTool(Family.V4, flavor)
    return tool.save() if in_use(tool, proc) else ""


def _default() -> Flavor:
    """Return the flavor of the plain command, as in ``iptables v1.8.9 (nf_tables)``."""
    try:
        done = subprocess.run(["iptables", "--version"], capture_output=True, check=False)
    except OSError:
        return Flavor.NFT
    return Flavor.LEGACY if b"legacy" in done.stdout else Flavor.NFT
