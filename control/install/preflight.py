"""What a machine lacks for podwire. Pure: ``facts`` looks, this decides.

Names of checks are kubeadm's where it has the check, for ``--ignore-preflight-errors``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from control.install.layout import InstallError

ALL = "all"
_ROOM = 1 << 30  # bytes of disk
_MEMORY = 512 << 20
_PACKAGES = {
    "etcd": "apt-get install etcd-server; systemctl disable --now etcd: podwire has its own unit"
}
# The kernel's options (CONFIG_...) without which a node has no Pods, or no rules for them.
KERNEL = (
    *("NET_NS", "PID_NS", "CGROUPS", "OVERLAY_FS", "VETH"),
    *("NF_CONNTRACK", "NF_NAT", "NF_TABLES"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine as it was seen."""

    root: bool = True
    systemd: bool = True
    addresses: frozenset[str] = frozenset()
    ports: tuple[tuple[int, str], ...] = ()  # in use, and by whom as far as it is known
    swap: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # programs and libraries
    networks: tuple[str, ...] = ()  # CNI configurations of others
    proxies: tuple[str, ...] = ()  # signs of another proxy
    lacking: tuple[str, ...] = ()  # of KERNEL, as far as the kernel shows its configuration
    unified: bool = True  # cgroup v2 is mounted
    writable_sysctls: bool = True
    free: int = 1 << 40  # bytes, where the state is
    memory: int = 1 << 40
    hidden: str = ""  # the first folder on the way to the program that only its owner may enter
    runtime: str = ""  # why the container runtime does not answer
    year: int = 2026
    half: tuple[str, ...] = ()  # leftovers of kubeadm


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an installation is going to be."""

    control_plane: bool
    ips: tuple[str, ...]
    ports: tuple[int, ...]
    own_ports: frozenset[int] = field(default_factory=frozenset)  # held by our own running units
    programs: tuple[str, ...] = ()  # that it runs, beside a node's


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault: the check that found it, and what it is and what to do; or only a warning."""

    check: str
    text: str
    fatal: bool = True


def problems(facts: Facts, wanted: Wanted) -> list[Problem]:
    """Return all problems, in the order of the table."""
    return [found for check in _CHECKS for found in check(facts, wanted)]


def _is_root(facts: Facts, _: Wanted) -> Iterator[Problem]:
    if not facts.root:
        yield Problem("IsPrivilegedUser", "this needs root: run it with sudo")


def _has_systemd(facts: Facts, _: Wanted) -> Iterator[Problem]:
    if not facts.systemd:
        yield Problem(
            "SystemVerification",
            "systemd is not this machine's first process: podwire's parts are its units; for a "
            "cluster without it, use podwire lab",
        )


def _has_address(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    for ip in wanted.ips:
        if ip not in facts.addresses:
            have = ", ".join(sorted(facts.addresses)) or "none"
            yield Problem(
                "NodeIP", f"--node-ip {ip} is no address of this machine, which has {have}"
            )


def _has_ports(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    used = dict(facts.ports)
    for port in wanted.ports:
        if port in used and port not in wanted.own_ports:
            who = f" by {used[port]}" if used[port] else ""
            yield Problem(f"Port-{port}", f"port {port} is in use{who}: end that program first")


def _has_programs(facts: Facts, _: Wanted) -> Iterator[Problem]:
    for name in facts.missing:
        remedy = _PACKAGES.get(name, "run podwire setup")
        yield Problem(f"FileExisting-{name}", f"{name} is missing: {remedy}")


def _swaps(facts: Facts, _: Wanted) -> Iterator[Problem]:
    if facts.swap:
        where = ", ".join(facts.swap)
        text = f"swap is on ({where}): Pods' memory limits do not hold it back; swapoff -a ends it"
        yield Problem("Swap", text, fatal=False)


def _has_kernel(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    if facts.lacking and not wanted.control_plane:
        names = ", ".join(f"CONFIG_{name}" for name in facts.lacking)
        text = f"this kernel has no {names}: boot the distribution's own kernel, or build them in"
        yield Problem("SystemVerification", text)
    if not facts.unified:
        yield Problem(
            "SystemVerification",
            "cgroup v2 is not mounted: boot with systemd.unified_cgroup_hierarchy=1",
            fatal=False,
        )
    if not facts.writable_sysctls:
        yield Problem(
            "FileContent--proc-sys-net-ipv4-ip_forward",
            "/proc/sys/net cannot be written, so that nothing can be forwarded between Pods: a "
            "container needs it writable",
        )


def _is_alone(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    for name in facts.half:
        yield Problem("DirAvailable", f"{name} is of another Kubernetes: remove it (kubeadm reset)")
    if wanted.control_plane:
        return
    for name in facts.proxies:
        yield Problem(
            "OtherProxy",
            f"another proxy balances Services here ({name}): remove it, and its rules by "
            "kube-proxy --cleanup",
        )
    for name in facts.networks:
        yield Problem(
            "OtherNetworkPlugin",
            f"{name} configures another network plugin, which the runtime would take first: "
            "remove it",
        )


def _has_room(facts: Facts, _: Wanted) -> Iterator[Problem]:
    if facts.free < _ROOM:
        yield Problem(
            "FileAvailable--var-lib-podwire",
            f"the disk of /var/lib/podwire has {facts.free >> 20} MiB free, and needs "
            f"{_ROOM >> 20}: make room",
        )
    if facts.memory < _MEMORY:
        text = f"this machine has {facts.memory >> 20} MiB of memory; {_MEMORY >> 20} is the least"
        yield Problem("Mem", text, fatal=False)


def _can_run(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    if facts.hidden and wanted.control_plane:
        yield Problem(
            "ProgramAccess",
            f"{facts.hidden} is closed to other users, and podwire's program is in it: the control "
            "plane does not run as root; put podwire elsewhere, /opt/podwire say",
        )
    if facts.runtime:
        yield Problem("CRI", facts.runtime)


def _has_time(facts: Facts, _: Wanted) -> Iterator[Problem]:
    if facts.year < 2026:  # the year of this code
        yield Problem(
            "Clock",
            f"this machine's clock says it is {facts.year}: set it, or no certificate is valid",
        )


_CHECKS: Sequence[Callable[[Facts, Wanted], Iterator[Problem]]] = (
    _is_root,
    _has_systemd,
    _has_time,
    _has_address,
    _has_ports,
    _has_programs,
    _swaps,
    _has_kernel,
    _is_alone,
    _has_room,
    _can_run,
)


def judge(found: Sequence[Problem], ignored: Sequence[str]) -> tuple[str, ...]:
    """Return the warnings; raises InstallError, which lists all errors that are not ignored."""
    names = {name.lower() for name in ignored}
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for problem in found:
        skipped = ALL in names or problem.check.lower() in names
        (errors if problem.fatal and not skipped else warnings).append(problem)
    if errors:
        lines = "".join(f"\n  [ERROR {each.check}] {each.text}" for each in errors)
        raise InstallError(
            f"preflight found {len(errors)} errors:{lines}\n"
            "  to go on in spite of one: --ignore-preflight-errors=NAME[,NAME] or =all"
        )
    return tuple(f"[WARNING {each.check}] {each.text}" for each in warnings)
