"""The iptables backend: marks, other programs' chains, the lock, missing programs."""

import fcntl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.cni.runner import Json, Node, Pod
from tests.support.cni.site import (
    HOST,
    OUTSIDE,
    Site,
    Spaces,
    ask,
    is_answered,
    listening,
    mapped,
    on_path,
    served_site,
    traces,
)
from tests.support.space import Space

_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libnftables.so.1")


@pytest.fixture(scope="module", params=["iptables-nft", "iptables-legacy"])
def site(
    request: pytest.FixtureRequest, spaces: Spaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with on_path(request.param, tmp_path_factory.mktemp("bin")) as backend:
        files = tmp_path_factory.mktemp("node")
        with served_site(spaces, files, backend=backend) as made:
            yield made


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    assert traces(site.node.space) == ""


def test_the_mark_has_the_configured_bit(site):
    node, one, other = site.node, site.pod(), site.pod()
    confs = [
        site.conf(runtimeConfig=mapped("8080-80/tcp"), markMasqBit=4),
        site.conf(runtimeConfig=mapped("8081-80/tcp")),
    ]
    for pod, conf in zip((one, other), confs, strict=True):
        node.add(pod, conf)
    for pod, port in ((one, 8080), (other, 8081)):
        with listening(pod.space, "it"):
            assert ask(pod.space, HOST, port) == "it ::ffff:10.1.0.1"
    marks = {
        line.split("--set-xmark ")[1]
        for line in traces(node.space).splitlines()
        if "-xmark" in line
    }
    assert marks == {"0x10/0x10", "0x2000/0x2000"}
    for pod, conf in zip((one, other), confs, strict=True):
        node.delete(pod, conf)


def test_an_external_chain_sets_the_mark(site):
    node, one = site.node, site.pod()
    conf = site.conf(
        runtimeConfig=mapped("8080-80/tcp"), backend=None, externalSetMarkChain="KUBE-MARK-MASQ"
    )
    refused = node.call("ADD", one, conf).document
    assert refused["code"] == 100
    assert "KUBE-MARK-MASQ" in refused["details"]
    node.space.run("iptables", "-t", "nat", "-N", "KUBE-MARK-MASQ")
    node.space.run("iptables", "-t", "nat", "-A", "KUBE-MARK-MASQ", "-j", "MARK", "--set-mark", "9")
    rule = ["POSTROUTING", "-m", "mark", "--mark", "9", "-j", "SNAT", "--to-source", "10.1.0.1"]
    node.space.run("iptables", "-t", "nat", "-A", *rule)
    node.add(one, conf)
    with listening(one.space, "one"):
        assert ask(one.space, HOST, 8080) == "one ::ffff:10.1.0.1"
        node.space.run("iptables", "-t", "nat", "-D", *rule)
        assert not is_answered(one.space, HOST, 8080)
    node.delete(one, conf)
    node.space.run("iptables", "-t", "nat", "-F", "KUBE-MARK-MASQ")
    node.space.run("iptables", "-t", "nat", "-X", "KUBE-MARK-MASQ")


def test_rules_of_other_programs_stay(site):
    node, one = site.node, site.pod()
    strangers = [
        [
            "-t",
            "nat",
            "-A",
            "PREROUTING",
            "-p",
            "tcp",
            "-m",
            "comment",
            "--comment",
            "a b",
            "-j",
            "RETURN",
        ],
        ["-A", "FORWARD", "-s", "203.0.113.0/24", "-j", "DROP"],
        ["-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP"],
    ]
    for rule in strangers:
        node.space.run("iptables", *rule)
    before = rules(node.space)
    conf = site.conf(ingressPolicy="isolated", runtimeConfig=mapped("8080-80/tcp"))
    node.add(one, conf)
    assert rules(node.space) > before
    node.delete(one, conf)
    assert rules(node.space) == before
    for rule in strangers:
        node.space.run("iptables", *["-D" if word == "-A" else word for word in rule])


def rules(space: Space) -> set[str]:
    return {line for line in space.run("iptables-save").splitlines() if line.startswith("-A")}


@pytest.mark.parametrize("rule", ["iifgroup 77", "ct mark 77"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_foreign_rule_that_iptables_cannot_print(site, rule, earlier):
    """iptables-nft-save ends in the middle with code 3, or prints no table with code 0."""
    node, one, other = site.node, site.pod(), site.pod()
    conf = site.conf(
        ipMasq=True,
        ipMasqBackend="iptables",
        ingressPolicy="same-bridge",
        runtimeConfig=mapped("8080-80/tcp"),
    )
    hooks = (("filter", "FORWARD"), ("nat", "POSTROUTING"), ("nat", "PREROUTING"))
    for table, chain in hooks:
        node.space.run("iptables-nft", "-t", table, "-I", chain, "-p", "esp", "-j", "ACCEPT")
        if earlier:
            node.space.run("nft", "insert", "rule", "ip", table, chain, *rule.split(), "counter")
    asked = conf | {"prevResult": node.add(one, conf)}
    if not earlier:  # before ours: iptables-nft finds none of them then
        for table, chain in hooks:
            node.space.run("nft", "insert", "rule", "ip", table, chain, *rule.split(), "counter")
    node.call("CHECK", one, asked).ok()
    node.add(other, conf | {"runtimeConfig": mapped("8081-80/tcp")})
    with listening(one.space, "one"):
        assert ask(site.outside, HOST, 8080).startswith("one")
    with listening(other.space, "other"):
        assert ask(site.outside, HOST, 8081).startswith("other")
    node.space.run("iptables-nft", "-t", "nat", "-F", "PODWIRE-OUT", check=False)
    for pod in (one, other):
        node.delete(pod, conf)
    shown = node.space.run("nft", "list", "ruleset")
    assert shown.count(rule.rpartition(" ")[0]) >= 3
    assert "PODWIRE" not in shown
    node.space.run("nft", "flush", "ruleset")


def test_add_repairs_what_another_program_flushed(site):
    node, one, other = site.node, site.pod(), site.pod()
    confs = [site.conf(runtimeConfig=mapped(f"{port}-80/tcp")) for port in (8080, 8081)]
    node.add(one, confs[0])
    node.space.run("iptables", "-t", "nat", "-F")
    node.space.run("iptables", "-F")
    node.add(other, confs[1])
    with listening(other.space, "other"):
        assert ask(site.outside, HOST, 8081).startswith("other")
    # a chain without rules is free
    node.delete(one, confs[0])
    node.add(one, confs[0])
    for pod, conf in ((one, confs[0]), (other, confs[1])):
        node.delete(pod, conf)


def test_rules_stay_in_their_flavor(site, spaces, tmp_path):
    """Until the last rule is removed, also if the plain command changes its flavor."""
    node, one, other = site.node, site.pod(), site.pod()
    confs = [site.conf(runtimeConfig=mapped(f"{port}-80/tcp")) for port in (8080, 8081)]
    node.add(one, confs[0])
    for flavor in ("nft", "legacy"):
        folder = tmp_path / flavor
        folder.mkdir()
        with on_path(f"iptables-{flavor}", folder):
            alone = Node(node.space, node.files / "nowhere")
            alone.add(other, confs[1])
            refused = alone.call("ADD", site.pod(), confs[0])
            assert refused.document["code"] == 7
            alone.delete(other, confs[1])
    node.delete(one, confs[0])


PLUGINS = {"podwire-cni", "python"}  # from its image, or executed


@contextmanager
def xtables_lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_command_that_outlives_a_killed_add(spaces, tmp_path):
    """DEL waits for the command, which holds the lock, and removes its rules."""
    with on_path("iptables-legacy", tmp_path):
        node, pod = Node(spaces("node"), tmp_path / "node"), Pod("c1", spaces("pod"))
        conf = node.conf(backend="iptables", runtimeConfig=mapped("8080-80/tcp"))
        lock = tmp_path / "xtables.lock"
        variables = {"environment": {"XTABLES_LOCKFILE": str(lock)}}
        with xtables_lock(lock):
            adding = threading.Thread(target=lambda: node.call("ADD", pod, conf, **variables))
            adding.start()
            wait_for(lambda: "iptables-restor" in processes(node.space))
            victim = next(pid for pid, name in by_pid(node.space) if name in PLUGINS)
            subprocess.run(["kill", "-9", victim], check=True)
            adding.join()
            assert "iptables-restor" in processes(node.space)
            deleting = threading.Thread(target=lambda: node.delete(pod, conf, **variables))
            deleting.start()
            wait_for(lambda: PLUGINS & {*processes(node.space).split()})
        deleting.join()
        assert traces(node.space) == ""
        assert node.reservations() == {}


def by_pid(space: Space) -> list[tuple[str, str]]:
    pids = space.run("ip", "netns", "pids", space.name).split()
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # the process has ended
            found.append((pid, Path("/proc", pid, "comm").read_text().strip()))
    return found


def processes(space: Space) -> str:
    return " ".join(name for _, name in by_pid(space))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(6000):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("nothing came of it in 60 s")


@contextmanager
def hidden(*paths: Path) -> Iterator[None]:
    """Mount an empty file over each file. bin/test runs in its own mount namespace."""
    for path in paths:
        subprocess.run(["mount", "--bind", "/dev/null", str(path)], check=True)
    try:
        yield
    finally:
        for path in paths:
            subprocess.run(["umount", str(path)], check=True)


def test_iptables_is_the_default_without_libnftables(site):
    node, one = Node(site.node.space, site.node.files / "nowhere"), site.pod()
    conf = node.conf(ipMasq=True, runtimeConfig=mapped("8080-80/tcp"))
    with hidden(_LIBRARY.resolve()):
        result = node.add(one, conf)
        node.call("CHECK", one, conf | {"prevResult": result}).ok()
        refused = node.call("ADD", site.pod(), conf | {"ipMasqBackend": "nftables"}).document
        assert refused["code"] == 2
    assert "PODWIRE-tcp-8080" in traces(node.space)
    with listening(one.space, "one"), listening(site.outside, "outside"):
        assert ask(site.outside, HOST, 8080).startswith("one")
        assert ask(one.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
    with hidden(_LIBRARY.resolve()):
        node.delete(one, conf)


def test_a_host_without_iptables(site, tmp_path):
    commands = [
        path.resolve()
        for path in map(Path, ("/usr/sbin/iptables-nft", "/usr/sbin/iptables-legacy"))
    ]
    node, one = Node(site.node.space, site.node.files / "nowhere"), site.pod()
    asked: Json = node.conf(backend="iptables", runtimeConfig=mapped("8080-80/tcp"))
    with hidden(*commands):
        refused = node.call("ADD", one, asked).document
        assert (refused["code"], refused["details"]) == (2, "install iptables")
        # the configuration needs none of these where nobody asks for it
        conf = node.conf(ipMasq=True, runtimeConfig=mapped("8080-80/tcp"))
        node.add(one, conf)
        node.delete(one, conf)
