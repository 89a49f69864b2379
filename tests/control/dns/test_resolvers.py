"""What users ask with: dig, glibc's resolver and musl's, of a server on port 53."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from control.api import kinds
from control.api.service import EndpointSlice, Service
from control.client import Client, ClientConfig
from tests.support.control.api_server import running
from tests.support.control.names import part, service
from tests.support.control.queries import HOST, PORTS, ask
from tests.support.control.resolvers import dnsmasq
from tests.support.parts import program

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANY = [f"10.1.{number}.1" for number in range(100)]
IN = "default.svc.cluster.local"
NO_ADDRESS = {"clusterIP": "", "clusterIPs": []}
RESOLV_CONF = f"""\
nameserver 127.0.0.1
search {IN} svc.cluster.local cluster.local
options ndots:5
"""
PAGES = ("health", "ready", "metrics")
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{}"}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
LOOK = Path(__file__).parents[2] / "support/control/look.c"


@pytest.fixture(scope="module")
def looks(tmp_path_factory) -> dict[str, Path]:
    """Return one program for each C library: it prints the addresses of a name."""
    folder = tmp_path_factory.mktemp("look")
    for compiler, name in (("gcc", "glibc"), ("musl-gcc", "musl")):
        subprocess.run([compiler, "-o", folder / name, LOOK], check=True)
    (folder / "resolv.conf").write_text(RESOLV_CONF)
    return {name: folder / name for name in ("glibc", "musl")}


def plain(example) -> dict:
    """Return an object as a user writes it."""
    document = example.wire()
    for key in ("uid", "resourceVersion"):
        del document["metadata"][key]
    return document


@pytest.fixture(scope="module")
def upstream():
    """Run a resolver for names outside; return its address."""
    with dnsmasq("--address=/www.example.com/192.0.2.80") as port:
        yield f"{HOST}:{port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory, upstream) -> AsyncIterator[Client]:
    """Serve the examples on port 53; yield a client of the API server."""
    services = (
        service("web", "10.96.0.77", ports=[("http", 80, "TCP")]),
        service("pets", ports=[("http", 80, "TCP")]),
        service("many"),
        service("out", type="ExternalName", externalName="www.example.com", **NO_ADDRESS),
    )
    slices = (
        part("pets", ("10.1.0.1", "cat", True), ("10.1.0.2", "", True)),
        part("many", *((address, "", True) for address in MANY)),
    )
    async with running() as api_server, Client(ClientConfig(api_server.url)) as client:
        for one in services:
            await client.create(kinds.SERVICE, Service.parse(plain(one)))
        for one in slices:
            await client.create(kinds.ENDPOINT_SLICE, EndpointSlice.parse(plain(one)))
        # A process, because port 53 is for programs that ask no other one.
        config = tmp_path_factory.mktemp("dns") / "kubeconfig"
        config.write_text(KUBECONFIG.format(api_server.url))
        pages = [f"--{page}-bind-address={HOST}:{next(PORTS)}" for page in PAGES]
        server = await asyncio.create_subprocess_exec(
            *program("dns"),
            *(f"--kubeconfig={config}", f"--listen={HOST}:53", *pages),
            f"--upstream={upstream}",
        )
        try:
            await listens()
            yield client
        finally:
            server.kill()
            await server.wait()


async def listens() -> None:
    """Wait for the first answer, by TCP: what is sent by UDP before somebody listens is lost."""
    while True:
        with suppress(ConnectionRefusedError):
            await ask(53, f"web.{IN}.", tcp=True)
            return
        await asyncio.sleep(0.01)


async def output(*argv: str | Path) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    text, _ = await process.communicate()
    return text.decode(), process.returncode or 0


async def look(program: Path, name: str) -> set[str]:
    """Return a name's addresses by a C library that reads this test's resolv.conf."""
    conf = program.parent / "resolv.conf"
    script = 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && exec "$2" "$3"'
    text, _ = await output("unshare", "--mount", "sh", "-c", script, "sh", conf, program, name)
    return set(text.split())


async def dig(*words: str) -> str:
    text, code = await output("dig", "@127.0.0.1", "+tries=1", "+time=60", *words)
    assert code == 0, text
    return text


# a name as a Pod uses it: its addresses
NAMES = [
    ("web", {"10.96.0.77"}),
    ("web.default", {"10.96.0.77"}),
    ("web.default.svc", {"10.96.0.77"}),
    (f"web.{IN}", {"10.96.0.77"}),
    (f"web.{IN}.", {"10.96.0.77"}),
    ("WEB", {"10.96.0.77"}),
    ("kubernetes", {"10.96.0.1"}),
    ("pets", {"10.1.0.1", "10.1.0.2"}),
    ("cat.pets", {"10.1.0.1"}),
    ("10-1-0-2.pets", {"10.1.0.2"}),
    ("10-9-9-9.default.pod", {"10.9.9.9"}),
    ("absent", set()),
    ("web.absent", set()),
    ("out", {"192.0.2.80"}),  # its target is outside the cluster
    ("www.example.com", {"192.0.2.80"}),
    ("www.example.org", set()),
]


async def test_programs_find_names_as_pods_use_them(client, looks):
    """musl before 1.2.4 does not ask by TCP: it has what a packet of 512 bytes has room for."""
    for library in ("glibc", "musl"):
        found = {name: await look(looks[library], name) for name, _ in NAMES}
        assert found == dict(NAMES), library
    assert await look(looks["glibc"], "many") == set(MANY)
    some = await look(looks["musl"], "many")
    assert len(some) >= 20
    assert some <= set(MANY)


# words for dig: what is printed
DIGS = [
    ([f"web.{IN}", "+short"], "10.96.0.77\n"),
    ([f"web.{IN}", "+short", "+noedns"], "10.96.0.77\n"),
    ([f"web.{IN}", "+short", "+tcp"], "10.96.0.77\n"),
    ([f"web.{IN}", "+short", "+dnssec", "+nsid", "+subnet=192.0.2.0/24"], "10.96.0.77\n"),
    (["-x", "10.96.0.77", "+short"], f"web.{IN}.\n"),
    (["SRV", f"_http._tcp.web.{IN}", "+short"], f"0 100 80 web.{IN}.\n"),
    (["TXT", "dns-version.cluster.local", "+short"], '"1.1.0"\n'),
    ([f"out.{IN}", "CNAME", "+short"], "www.example.com.\n"),
    ([f"out.{IN}", "+short"], "www.example.com.\n192.0.2.80\n"),
    (["www.example.com", "+short"], "192.0.2.80\n"),
    (["www.example.com", "+short", "+tcp", "+dnssec"], "192.0.2.80\n"),
    ([f"absent.{IN}"], "status: NXDOMAIN"),
    ([f"web.{IN}", "MX"], "status: NOERROR"),
    (["example.com"], "status: NXDOMAIN"),
    ([f"web.{IN}", "+edns=7", "+noednsnegotiation"], "status: BADVERS"),
    ([f"web.{IN}", "+opcode=status"], "status: NOTIMP"),
    (["-c", "CH", "TXT", "version.bind"], "status: REFUSED"),
    (["cluster.local", "AXFR"], "; Transfer failed."),
    ([f"many.{IN}", "+bufsize=512", "+ignore"], "flags: qr aa tc rd"),
    ([f"many.{IN}"], "ANSWER: 100,"),
]


async def test_dig_has_no_complaint(client):
    for words, expected in DIGS:
        text = await dig(*words)
        assert text == expected if "+short" in words else expected in text, words
        assert ";; Warning" not in text.replace("recursion requested but not", ""), words


async def test_no_answer_is_wrong_or_late_in_a_rollout(client):
    """Each answer is a state that was; after one was seen, or its event, no older one is."""
    newest, last, answers = 0, 30, 0

    async def ask_again() -> None:
        nonlocal newest, answers
        while newest < last:
            before = newest
            response = await ask(53, f"pets.{IN}.")
            found = {str(rdata) for rrset in response.answer for rdata in rrset}
            state = max((int(each.split(".")[3]) for each in found), default=0)
            assert found == rolled(state)
            assert state >= before
            newest = max(newest, state)
            answers += 1

    await client.patch(kinds.ENDPOINT_SLICE, "default", "pets-a", endpoints_of(2))
    asking = [asyncio.create_task(ask_again()) for _ in range(4)]
    for state in range(3, last + 1):
        await client.patch(kinds.ENDPOINT_SLICE, "default", "pets-a", endpoints_of(state))
        some, seen = answers + 8, state if state % 3 else 0  # some changes come close together
        while newest < max(seen, 2) or (answers < some and newest < last):
            await asyncio.wait(asking, timeout=0.01, return_when=asyncio.FIRST_EXCEPTION)
            assert not any(one.done() and one.exception() for one in asking)
    await asyncio.gather(*asking)


def rolled(state: int) -> set[str]:
    """Return the addresses of a state of the rollout: one Pod goes, another one comes."""
    return {f"10.1.0.{state - 1}", f"10.1.0.{state}"}


def endpoints_of(state: int) -> dict:
    """Return the part of an EndpointSlice that a state of the rollout is."""
    new = part("pets", *((address, "", True) for address in sorted(rolled(state))))
    return {"endpoints": plain(new)["endpoints"]}
