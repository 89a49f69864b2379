"""What is explained of a snapshot, held to what is explained of the kernels that it is of."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from debug.explain.commands import explained, explained_of_file
from debug.explain.result import Explanation
from debug.explain.routes import SavedFib
from debug.explain.text import lines
from debug.kernel.read import read_space
from debug.places import Ground, Place, entered
from debug.ruleset.read.fib import KernelFib
from debug.snapshot import load, save, take
from debug.trace.ends import EndError
from tests.support.debug.strangers import ALONE, SERVICE, THERE, World
from tests.support.space import Space

OPTIONS: dict[str, Any] = {
    **{"namespace": "ns1", "source_port": 40000, "source_address": None, "mark": 0},
    **{"most": 16, "no_reply": False, "new": False},
}
ASKED = (
    *(f"{SERVICE}:80/tcp", f"{ALONE}:80", f"{ALONE}:443", f"{THERE}/icmp", f"{THERE}:8080/udp"),
    *("10.244.1.77:1", "192.0.2.1", "172.30.0.2:22"),
)


@pytest.fixture(scope="module", params=["nftables", "iptables-nft", "iptables-legacy"])
def world(request: pytest.FixtureRequest, spaces: Callable[[str], Space]) -> World:
    made = World(spaces)
    made.load(request.param)
    return made


def shown(found: Explanation) -> str:
    return "\n".join(lines(found))


def test_a_snapshot_explains_as_its_kernels_do(world: World, tmp_path: Path) -> None:
    """Connections that are tracked are in it, too."""
    ground, path = Ground(world.places), tmp_path / "taken.json"
    with world.connected() as (port, _):
        save(take(ground, machines=True, rules=True), path)
        for source in ("here", "two"):
            for asked in ASKED:
                live = explained(ground, source, asked, OPTIONS)
                assert shown(explained_of_file(path, source, asked, OPTIONS)) == shown(live)
        known = OPTIONS | {"source_port": port}
        live = explained(ground, "here", ASKED[0], known)
        saved = explained_of_file(path, "here", ASKED[0], known)
        assert shown(saved) == shown(live) and "an entry of conntrack decides" in shown(saved)


def test_a_snapshot_without_rules_or_with_wrong_ones_is_refused(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "taken.json"
    save(take(Ground(world.places)), path)
    with pytest.raises(EndError, match="has no rules to explain"):
        explained_of_file(path, "here", ASKED[0], OPTIONS)
    whole = take(Ground(world.places), rules=True)
    text = msgspec.json.encode(whole).decode().replace('"link":2', '"link":99')
    path.write_text(text)
    with pytest.raises(EndError, match="contradicts itself"):
        explained_of_file(path, "here", ASKED[0], OPTIONS)


ADDRESSES = {4: "10.{}.{}.{}", 6: "fd00:{}:{}::{}"}


def random_address(draw: random.Random, version: int) -> str:
    return ADDRESSES[version].format(*(draw.randint(0, 3) for _ in range(3)))


def random_routes(draw: random.Random) -> Iterator[str]:
    """Yield lines of ``ip -batch``: routes of many lengths, metrics and kinds, and rules."""
    for at in range(40):
        version = draw.choice([4, 6])
        length = draw.choice([8, 16, 24, 30, 32] if version == 4 else [16, 32, 48, 64, 128])
        base = ip_address(random_address(draw, version))
        number = int(base) >> base.max_prefixlen - length << base.max_prefixlen - length
        network = f"{type(base)(number)}/{length}"
        device = draw.choice(["d0", "d1", "d2"])
        gateway = {4: f"via 172.16.{device[1]}.9", 6: f"via fd99:{device[1]}::9"}[version]
        kind = draw.choice([f"{gateway} dev {device}"] * 3 + [f"dev {device}"] * 2 + ["blackhole"])
        table = draw.choice(["main", "main", "77"])
        to = f"blackhole {network}" if kind == "blackhole" else f"{network} {kind}"
        yield f"route replace {to} metric {100 + at} table {table}"
    for version in (4, 6):
        option = "-6 " if version == 6 else ""
        net = {4: "10.1.0.0/16", 6: "fd00:1::/32"}[version]
        yield f"{option}rule add fwmark 0x2/0x2 table 77"
        yield f"{option}rule add from {net} iif d1 table 77"
        yield f"{option}rule add to {net} fwmark 0x4 blackhole"


@pytest.mark.parametrize("seed", range(4))
def test_routes_are_found_as_the_kernel_finds_them(
    spaces: Callable[[str], Space], seed: int
) -> None:
    draw = random.Random(seed)
    space = spaces(f"routes{seed}")
    for at in range(3):
        space.ip_batch(
            f"link add d{at} type veth peer name e{at}",
            f"link set d{at} up",
            f"link set e{at} up",
            f"addr add 172.16.{at}.1/24 dev d{at}",
            f"addr add fd99:{at}::1/64 dev d{at} nodad",
        )
        space.sysctl(f"net.ipv4.conf.d{at}.rp_filter", draw.choice([0, 1, 2]))
    space.sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
    for line in random_routes(draw):
        words = line.split()
        space.ip(*words)
    place = Place("routes", os.getpid(), str(space.path))
    with entered(place), closing(KernelFib()) as kernel:
        saved, links = SavedFib(read_space()), list(kernel.links)
        for _ in range(400):
            version = draw.choice([4, 6])
            to, source = (ip_address(random_address(draw, version)) for _ in range(2))
            mark = draw.choice([0, 0, 2, 4])
            iif = draw.choice([0, *(one for one in links if one > 1)])
            asked = {"mark": mark, "iif": iif} | ({"source": source} if iif else {})
            want, got = kernel.route(to, **asked), saved.route(to, **asked)
            assert looks(got, iif) == looks(want, iif), (to, asked)


def looks(found: Any, iif: int) -> tuple[object, ...]:
    """What decides; a route of a packet that came in has no source address."""
    if found.refused:
        return ("unreachable",)
    return found.kind, found.device, found.gateway, "" if iif else found.source


def test_the_file_can_be_read_again(world: World, tmp_path: Path) -> None:
    path = tmp_path / "taken.json"
    whole = take(Ground(world.places), rules=True)
    save(whole, path)
    assert load(path).spaces == whole.spaces
