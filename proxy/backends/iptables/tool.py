"""The iptables commands: detecting the flavor in use, reading rules, writing them."""

import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from proxy.backends.iptables.fixed import Jump
from proxy.backends.iptables.names import Table
from proxy.backends.iptables.observe import ObservedChains, parse
from proxy.linux.nft_names import chains
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

logger = logging.getLogger("podwire.proxy.iptables")

# What iptables-nft-save answers to a rule that iptables has no words for: it ends in the middle
# with this code, or it prints this comment in place of the table and succeeds.
# Source: nft_is_table_compatible in iptables/nft.c of iptables 1.8.9.
_UNPRINTABLE = 3
_LEFT_OUT = re.compile(r"^# Table `(\w+)' is incompatible, use 'nft' tool\.$", re.MULTILINE)
_LOCK_SECONDS = 10  # how long to wait for another program's xtables lock
_HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")  # KEP-3178: kubelet's chains show its flavor


class Flavor(StrEnum):
    """The kernel interface behind the iptables command."""

    LEGACY = "legacy"
    NFT = "nft"


class IptablesTool(Struct, frozen=True):
    """The iptables commands of one family and flavor."""

    family: Family
    flavor: Flavor

    def save(self, *, every_table: bool = False, counters: bool = False) -> str:
        """Return the rules of our tables, or of all, as text, each with what it counted if that is
        asked for. Raises KernelRefusedError.

        A table with a rule that iptables-nft cannot print, because nft wrote it, ends early or has
        no rule at all: it has all its chains, but no COMMIT.
        """
        counted = ("-c",) if counters else ()
        if every_table:
            return self._printed(*counted)
        return "".join(self._printed("-t", table, *counted) for table in Table)

    def contains(self, jump: Jump) -> bool:
        """Return True if a rule is there, also in a table that cannot be printed."""
        command = _prefix(self.family), self.flavor, jump.origin.table, jump.origin.name
        tool, flavor, table, chain = command
        words = (f"{tool}-{flavor}", "-w", str(_LOCK_SECONDS), "-t", table, "-C", chain)
        done = _finished([*words, *shlex.split(jump.rule)], b"")
        return done.returncode == 0

    def _printed(self, *args: str) -> str:
        command = self._command("save")
        done = _finished([command, *args], b"")
        if done.returncode and (done.returncode != _UNPRINTABLE or self.flavor is Flavor.LEGACY):
            raise KernelRefusedError(f"{command}: {_message(done)}")
        return _LEFT_OUT.sub(self._chains_of, done.stdout.decode(errors="replace"))

    def _chains_of(self, left_out: re.Match[str]) -> str:
        table = left_out[1]
        found = (name for of, name in chains(self.family) if of == table)
        return "\n".join((f"*{table}", *(f":{name} - [0:0]" for name in found)))

    def restore(self, transaction: bytes) -> None:
        """Commit one transaction; other chains stay. Raises KernelRefusedError."""
        command = self._command("restore")
        done = _finished([command, "--noflush", "-w", str(_LOCK_SECONDS)], transaction)
        if done.returncode:
            message = _message(done)
            raise KernelRefusedError(f"{command}: {message}", _rejected_line(message, transaction))

    @property
    def exists(self) -> bool:
        """True if the command is installed."""
        return shutil.which(self._command("restore")) is not None

    def _command(self, verb: str) -> str:
        return f"{_prefix(self.family)}-{self.flavor}-{verb}"


def _finished(argv: list[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, check=False)
    except OSError as err:
        raise KernelRefusedError(
            f"{argv[0]} cannot be run: {err.strerror}; install iptables"
        ) from err


def _message(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode(errors="replace").strip()


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


def has_ours(tool: IptablesTool, proc: Path = Path("/proc")) -> bool:
    """Return True if there may be chains of ours. Raises KernelRefusedError."""
    if tool.flavor is Flavor.LEGACY:
        return in_use(tool, proc) and ":KUBE-" in tool.save()
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
    if not in_use(tool, proc):
        return ""
    names = chains(tool.family) if flavor is Flavor.NFT else ()
    return tool.save(every_table=True) + "".join(f":{name} \n" for _, name in names)


def _default() -> Flavor:
    """Return the flavor of the plain command, as in ``iptables v1.8.9 (nf_tables)``."""
    try:
        done = subprocess.run(["iptables", "--version"], capture_output=True, check=False)
    except OSError:
        return Flavor.NFT
    return Flavor.LEGACY if b"legacy" in done.stdout else Flavor.NFT


def look(tool: IptablesTool, wanted: Iterable[Jump]) -> ObservedChains:
    """Return what is there of ours. Raises KernelRefusedError.

    nft can put a rule into iptables' tables that iptables has no words for. Then its listing ends,
    and each of our jumps is asked for.
    """
    observed = parse(tool.save())
    if not observed.hidden:
        return observed
    logger.warning(
        "%s: tables with rules of another program that iptables cannot print: %s; the proxy goes "
        "on, but cannot remove chains that are stale there. `nft list table` shows the rules",
        tool.family.name,
        ", ".join(sorted(observed.hidden)),
    )
    asked = (jump for jump in wanted if jump.origin.table in observed.hidden)
    found = {(jump.origin, jump.rule) for jump in asked if tool.contains(jump)}
    return replace(observed, entries=observed.entries | found)
