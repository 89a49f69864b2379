"""Reads what a node's kernel counts of drops, in the calling thread's network namespace."""

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from debug.drops.meaning import BACKLOG, CONNTRACK, LINK, PROTOCOLS
from debug.kernel.read import read_counters
from proxy.backends.iptables.tool import Flavor, IptablesTool, in_use
from proxy.linux.netlink import BRIDGE, INET
from proxy.linux.nft_rules import NftReader, NftRule
from proxy.model.values import Family
from proxy.policy.drops.counts import read as read_policies
from proxy.policy.render import TABLE as POLICIES

_NET = Path("/proc/thread-self/net")
_THREAD = Path("/proc/thread-self")
_NAMES: tuple[tuple[Family | str, str], ...] = (
    *((Family.V4, "ip"), (Family.V6, "ip6"), (INET, "inet"), (BRIDGE, "bridge")),
)
_ABSENT = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT)
_SAVED = re.compile(  # a comment may have anything in its quotes
    r'\[(\d+):\d+\] -A (\S+) ((?:[^"\n]|"(?:[^"\\\n]|\\.)*")*?)-j (DROP|REJECT)\b'
)
_REMARK = re.compile(r'--comment (?:"([^"]*)"|(\S+))')


class DropCount(Struct, frozen=True, omit_defaults=True):
    """A counter of a node: of what sort, of what, and how many packets it counted."""

    node: str
    source: str  # policy, rule, conntrack, protocol, link, backlog
    what: str
    packets: int
    meaning: str = ""


def read(node: str) -> Iterator[DropCount]:
    """Yield every counter of drops. Raises OSError, KernelRefusedError."""
    for source, found in (
        ("policy", _policies()),
        ("rule", _rules()),
        ("conntrack", _conntrack()),
        ("protocol", _protocols()),
        ("link", _links()),
    ):
        yield from (DropCount(node, source, *one) for one in found)


Counted = tuple[str, int, str]  # what, packets, meaning


def _policies() -> Iterator[Counted]:
    """Yield the exact counts of NetworkPolicies: by the address that they guard."""
    for family in Family:
        with suppress(OSError):  # no policy, so no table
            for place, packets in read_policies([family]).items():
                rule = "by a rule of a ClusterNetworkPolicy" if place.by_rule else ""
                yield f"{place.direction.lower()} of {place.where}", packets, rule


def _rules() -> Iterator[Counted]:
    """Yield rules that drop or reject, as far as they count."""
    for family, name in _NAMES:
        try:
            with NftReader(family) as reader:
                found = [*reader.tables_of_rules()]
        except OSError as err:
            if err.errno in _ABSENT:
                continue
            raise
        for table, rule in found:
            packets = rule.packets
            if packets is not None and table != POLICIES and (fate := _fate(rule)):
                yield f"{name} {table} {rule.chain} #{rule.handle}", packets, _said(fate, rule)
    for family in Family:
        yield from _legacy(IptablesTool(family, Flavor.LEGACY))


def _fate(rule: NftRule) -> str:
    if rule.has("reject") or any(one.text(1) == "REJECT" for one in rule.of("target")):
        return "rejects"
    return "drops" if rule.verdict and rule.verdict.word == "drop" else ""


def _said(fate: str, rule: NftRule) -> str:
    remark = rule.comment or rule.remark
    return f"{fate}: {remark}" if remark else fate


def _legacy(tool: IptablesTool) -> Iterator[Counted]:
    if not in_use(tool, _THREAD):
        return
    name = f"{'iptables' if tool.family is Family.V4 else 'ip6tables'}-legacy"
    for packets, chain, match, target in _SAVED.findall(tool.save(every_table=True, counters=True)):
        said = _REMARK.search(match)
        fate = "drops" if target == "DROP" else "rejects"
        remark = f": {said[1] or said[2]}" if said else ""
        yield f"{name} {chain} {match.strip()}".strip(), int(packets), f"{fate}{remark}"


def _conntrack() -> Iterator[Counted]:
    """Yield the sums over all processors. Source: nf_conntrack_standalone.c, ct_cpu_seq_show."""
    try:
        head, *lines = (_NET / "stat/nf_conntrack").read_text().splitlines()
    except (OSError, ValueError):  # connection tracking is not loaded
        return
    names = head.split()
    rows = [[int(value, 16) for value in line.split()] for line in lines]
    sums = dict(zip(names, map(sum, zip(*rows, strict=False)), strict=False))
    for name, meaning in CONNTRACK.items():
        if name in sums:
            yield name, sums[name], meaning


def _protocols() -> Iterator[Counted]:
    counters = read_counters()
    for name, meaning in PROTOCOLS.items():
        if name in counters:
            yield name, counters[name], meaning


def _links() -> Iterator[Counted]:
    """Yield drops of each link in both directions; see proc_net_dev(5)."""
    for line in (_NET / "dev").read_text(errors="replace").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        counts = [int(number) for number in numbers.split()]
        yield f"{name.strip()} received", counts[3], LINK
        yield f"{name.strip()} sent", counts[11], LINK


def backlog(proc: Path = Path("/proc")) -> Iterator[DropCount]:
    """Yield the drops of the whole machine, before any namespace. Source: net/core/net-procfs.c."""
    rows = (proc / "net/softnet_stat").read_text().splitlines()
    dropped = sum(int(row.split()[1], 16) for row in rows)
    yield DropCount("machine", "backlog", "softnet dropped", dropped, BACKLOG)


def grown(before: Iterable[DropCount], after: Iterable[DropCount]) -> Iterator[DropCount]:
    """Yield what grew, with the growth; a counter that fell began anew. Pure."""
    had = {(one.node, one.source, one.what): one.packets for one in before}
    for one in after:
        was = had.get((one.node, one.source, one.what), 0)
        more = one.packets - was if one.packets >= was else one.packets
        if more:
            yield DropCount(one.node, one.source, one.what, more, one.meaning)
