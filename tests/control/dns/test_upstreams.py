"""Names outside the cluster: which resolvers are asked, what is believed, and what fails."""

import asyncio
from collections import Counter
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import pytest

from control.dns.upstream import exchange, forwarder, loop, peer
from control.dns.upstream.loop import LoopError, Loops
from tests.support.control.names import namespace, part, service, shown
from tests.support.control.queries import HOST, PORTS
from tests.support.control.resolvers import Served, dnsmasq, reply, says, scripted, until

WWW = "www.example.com. 300 IN A 192.0.2.80"
SOA = "example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 60"
NO_ADDRESS = {"clusterIP": "", "clusterIPs": []}
IN = "default.svc.cluster.local."


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine is not a resolver that fails."""
    monkeypatch.setattr(exchange, "READ_SECONDS", 120)
    monkeypatch.setattr(forwarder, "TOTAL_SECONDS", 120)
    monkeypatch.setattr(peer, "CHECK_SECONDS", 120)
    monkeypatch.setattr(peer, "CHECK_INTERVAL", 0.01)


@pytest.fixture
async def start():
    """Return a function that starts a Served or a resolver; all end with the test."""
    made = []

    async def begin(*objects, script=None, **options):
        made.append(await scripted(script) if script else Served(*objects, **options))
        return made[-1]

    yield begin
    for each in made:
        if (ended := each.close()) is not None:
            await ended


async def ask(served, name, kind="A", *, tcp=False, **options):
    query = dns.message.make_query(name, kind, **options)
    via = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await via(query, HOST, port=served.port, timeout=120)


def at(*resolvers) -> list[str]:
    return [f"{HOST}:{each.port}" for each in resolvers]


@pytest.fixture(scope="module")
def masq(tmp_path_factory):
    """A dnsmasq that knows two zones, and a name with more addresses than 512 bytes hold."""
    hosts = tmp_path_factory.mktemp("dnsmasq") / "hosts"
    hosts.write_text("".join(f"192.0.2.{number} many.example.com\n" for number in range(1, 101)))
    options = ["--address=/www.example.com/192.0.2.80", "--cname=alias.example.com,www.example.com"]
    options += ["--txt-record=text.example.com,hello", "--host-record=a.corp.example,192.0.2.1"]
    options += ["--mx-host=example.com,mail.example.com,10", "--host-record=pc.example,192.0.2.99"]
    with dnsmasq(f"--addn-hosts={hosts}", "--auth-ttl=7", *options) as port:
        yield f"{HOST}:{port}"


# name, type: code, values
OUTSIDE = [
    ("www.example.com.", "A", "NOERROR", ["192.0.2.80"]),
    ("text.example.com.", "TXT", "NOERROR", ['"hello"']),
    ("example.com.", "MX", "NOERROR", ["10 mail.example.com."]),
    ("absent.example.com.", "A", "NXDOMAIN", []),
    ("many.example.com.", "A", "NOERROR", [f"192.0.2.{number}" for number in range(1, 101)]),
    ("99.2.0.192.in-addr.arpa.", "PTR", "NOERROR", ["pc.example."]),
    ("7.0.96.10.in-addr.arpa.", "PTR", "NOERROR", [f"web.{IN}"]),
    (f"out.{IN}", "A", "NOERROR", ["192.0.2.80", "www.example.com."]),
    (f"out.{IN}", "CNAME", "NOERROR", ["www.example.com."]),
    (f"lost.{IN}", "A", "NXDOMAIN", ["absent.example.com."]),
    (f"web.{IN}", "A", "NOERROR", ["10.96.0.7"]),
    (f"absent.{IN}", "A", "NXDOMAIN", []),
]


@pytest.mark.parametrize("tcp", [False, True])
async def test_dnsmasq_knows_the_names_outside(start, masq, tcp):
    external = {"type": "ExternalName", **NO_ADDRESS}
    served = await start(
        namespace("default"),
        service("web", "10.96.0.7"),
        service("out", externalName="www.example.com", **external),
        service("lost", externalName="absent.example.com", **external),
        upstreams=[masq],
    )
    for name, kind, rcode, values in OUTSIDE:
        for _ in range(2):  # the second one from what is kept
            response = await ask(served, name, kind, tcp=tcp)
            if response.flags & dns.flags.TC:
                assert name.startswith("many.")
                response = await ask(served, name, kind, tcp=True)
            found = sorted(str(rdata) for rrset in response.answer for rdata in rrset)
            assert (response.rcode().name, found) == (rcode, sorted(values)), name


async def test_names_below_the_cluster_domain_never_leave(start):
    resolver = await start(script=says(WWW))
    served = await start(service("web", "10.96.0.7"), upstreams=at(resolver))
    inside = [f"web.{IN}", f"absent.{IN}", "cluster.local.", "x.cluster.local.", f"a.web.{IN}"]
    for name in inside:
        for kind in ("A", "MX", "ANY", "HINFO"):
            await ask(served, name, kind)
    await ask(served, "www.example.com.")
    await ask(served, "xcluster.local.")
    assert resolver.names == ["www.example.com.", "xcluster.local."]


async def test_a_stub_domain_has_resolvers_of_its_own(start):
    corp, lab, rest = [await start(script=says(WWW)) for _ in range(3)]
    stubs = [f"corp.example={at(corp)[0]}", f"lab.corp.example={at(lab)[0]}"]
    served = await start(upstreams=at(rest), stubs=stubs)
    for name in ("corp.example.", "A.Corp.Example.", "x.lab.corp.example.", "acorp.example."):
        await ask(served, name)
    assert corp.names == ["corp.example.", "a.corp.example."]
    assert lab.names == ["x.lab.corp.example."]
    assert rest.names == ["acorp.example."]


async def test_after_an_event_the_next_answer_is_new(start):
    """By UDP and TCP, of what is kept and what is not: no time passes between."""
    served, name = await start(service("pets"), part("pets", ("10.1.0.1", "", True))), f"pets.{IN}"
    for state in range(2, 60):
        if state % 3:  # else the response of before is kept
            await ask(served, name)
        old = part("pets", (f"10.1.0.{state - 1}", "", True))
        served.names.put(part("pets", (f"10.1.0.{state}", "", True)), old)
        response = await ask(served, name, tcp=state % 2 == 0)
        assert [rdata.to_text() for rdata in response.answer[0]] == [f"10.1.0.{state}"]


async def test_without_upstreams_only_stub_domains_are_asked_for(start):
    corp = await start(script=says(WWW))
    served = await start(stubs=[f"corp.example={at(corp)[0]}"])
    response = await ask(served, "www.example.com.")
    assert (response.rcode().name, len(response.authority)) == ("NXDOMAIN", 1)
    assert corp.names == []


async def test_only_the_reply_to_the_question_is_believed(start):
    """A wrong ID, a wrong name, a query, another socket's packet and noise come before it."""

    def script(query, send):
        wrong = dns.message.make_query("www.example.com.", "A", id=query.id ^ 1)
        other = dns.message.make_query("www.example.org.", "A", id=query.id)
        for packet in (
            reply(wrong, "www.example.com. 9 IN A 203.0.113.1"),
            reply(other, "www.example.com. 9 IN A 203.0.113.2"),
            query.to_wire(),
            b"noise",
        ):
            send(packet)
        strangers.append(asyncio.ensure_future(stranger(query)))
        strangers[-1].add_done_callback(lambda _: send(reply(query, WWW)))

    async def stranger(query):
        """Send a fine reply from another address to whoever listens."""
        forged = reply(query, "www.example.com. 9 IN A 203.0.113.3")
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.9", 0)
        )
        for port in ports(to=resolver.port):
            transport.sendto(forged, (HOST, port))
            forgeries.append(port)
        transport.close()

    strangers, forgeries = [], []
    resolver = await start(script=script)
    served = await start(upstreams=at(resolver))
    response = await ask(served, "www.example.com.")
    assert shown(response.answer) == ["www.example.com. 30 A 192.0.2.80"]
    assert forgeries


def ports(to: int) -> list[int]:
    """Return the local ports of this network namespace's UDP sockets to a port."""
    lines = Path("/proc/self/net/udp").read_text().splitlines()[1:]
    pairs = [[int(end.split(":")[1], 16) for end in line.split()[1:3]] for line in lines]
    return [local for local, remote in pairs if remote == to]


async def test_ids_and_ports_are_not_those_of_before(start):
    seen = []
    resolver = await start(script=lambda query, send: send(reply(query, WWW)))
    receive = resolver.datagram_received

    def spy(data, source):
        seen.append((source[1], data[:2]))
        receive(data, source)

    resolver.datagram_received = spy
    served = await start(upstreams=at(resolver), seconds=0)
    for _ in range(20):
        await ask(served, "www.example.com.", id=7)
    found_ports, ids = ({each[place] for each in seen} for place in (0, 1))
    assert len(found_ports) > 10
    assert len(ids) > 10


async def test_the_next_resolver_is_asked_and_one_that_is_down_comes_last(start):
    dead, alive = f"{HOST}:{next(PORTS)}", await start(script=says(WWW))
    served = await start(upstreams=[dead, *at(alive)], seconds=0)
    for number in range(3):
        response = await ask(served, f"a{number}.example.com.")
        assert response.rcode().name == "NOERROR"
    first = served.forwarder._peer(served.routes[0].servers[0])
    await until(first.is_down)
    tried = served.metrics().count("proxy_healthcheck_failures_total{")
    assert tried == 1
    # It comes back: checks find it, and it is the first again.
    host, port = dead.split(":")
    back, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: type(alive)(says(WWW)), local_addr=(host, int(port))
    )
    await until(lambda: not first.is_down())
    before = len(alive.names)
    await ask(served, "again.example.com.")
    assert len(alive.names) == before
    back.close()


async def test_with_all_resolvers_down_one_is_asked_nevertheless(start):
    served = await start(upstreams=[f"{HOST}:{next(PORTS)}", f"{HOST}:{next(PORTS)}"])
    for _ in range(2):
        response = await ask(served, "www.example.com.")
        assert (response.rcode().name, response.answer) == ("SERVFAIL", [])
        for server in served.routes[0].servers:
            await until(served.forwarder._peer(server).is_down)
    broken = next(x for x in served.metrics().split("\n") if x.startswith("coredns_forward_health"))
    assert int(broken.split()[-1]) > 0


async def test_a_silent_resolver_is_left_after_its_time(start, monkeypatch):
    monkeypatch.setattr(exchange, "READ_SECONDS", 0.05)
    silent, alive = await start(script=lambda *_: None), await start(script=says(WWW))
    served = await start(upstreams=at(silent, alive))
    while True:  # a busy machine may need several tries within such a time
        response = await ask(served, "www.example.com.")
        if response.rcode().name == "NOERROR":
            break
    assert silent.names[0] == "www.example.com."


async def test_a_slow_resolver_keeps_nobody_waiting(start):
    released, held = [], asyncio.Event()

    def script(query, send):
        packet = reply(query, WWW)
        if query.question[0].name.to_text() == "slow.example.com.":
            released.append(lambda: send(packet))
            held.set()
        else:
            send(packet)

    served = await start(upstreams=at(await start(script=script)))
    slow = asyncio.create_task(ask(served, "slow.example.com."))
    await held.wait()
    for number in range(20):
        assert (await ask(served, f"a{number}.example.com.")).rcode().name == "NOERROR"
        assert (await ask(served, "cluster.local.", tcp=True)).rcode().name == "NOERROR"
    assert not slow.done()
    released[0]()
    assert (await slow).rcode().name == "NOERROR"


async def test_equal_questions_that_wait_are_asked_once(start):
    released, held = [], asyncio.Event()

    def script(query, send):
        released.append(lambda: send(reply(query, WWW)))
        held.set()

    resolver = await start(script=script)
    served = await start(upstreams=at(resolver))
    many = [asyncio.create_task(ask(served, "www.example.com.")) for _ in range(20)]
    await held.wait()
    await until(lambda: served.forwarder._room._value <= forwarder.MOST_WAITING - len(many))
    released[0]()
    responses = await asyncio.gather(*many)
    assert {response.rcode().name for response in responses} == {"NOERROR"}
    assert resolver.names == ["www.example.com."]


async def test_too_many_queries_that_wait_are_refused(start, monkeypatch):
    monkeypatch.setattr(forwarder, "MOST_WAITING", 1)
    released, held = [], asyncio.Event()

    def script(query, send):
        released.append(lambda: send(reply(query, WWW)))
        held.set()

    served = await start(upstreams=at(await start(script=script)))
    first = asyncio.create_task(ask(served, "www.example.com."))
    await held.wait()
    for tcp in (False, True):
        response = await ask(served, "other.example.com.", tcp=tcp)
        assert response.rcode().name == "REFUSED"
    assert (await ask(served, "cluster.local.")).rcode().name == "NOERROR"
    released[0]()
    assert (await first).rcode().name == "NOERROR"
    assert "coredns_forward_max_concurrent_rejects_total 2" in served.metrics()


async def test_edns_is_passed_and_what_depends_on_it_is_kept_apart(start):
    resolver = await start(script=says(WWW))
    served = await start(upstreams=at(resolver))
    hows = [{}, {"use_edns": True}, {"want_dnssec": True}, {"flags": 0}, {"flags": dns.flags.CD}]
    for how in hows * 2:
        assert (await ask(served, "www.example.com.", **how)).answer
    found = [
        (query.edns, bool(query.ednsflags & dns.flags.DO), query.flags & 0x0110)
        for query in resolver.asked
    ]
    plain, edns, dnssec = (-1, False, 0x0100), (0, False, 0x0100), (0, True, 0x0100)
    assert found == [plain, edns, dnssec, (-1, False, 0), (-1, False, 0x0010)]


async def test_what_a_resolver_denies_is_kept_and_counted(start):
    resolver = await start(script=says(SOA, rcode=3))
    served = await start(upstreams=at(resolver))
    for _ in range(3):
        response = await ask(served, "absent.example.com.")
        assert response.rcode().name == "NXDOMAIN"
        assert [rrset.ttl <= 30 for rrset in response.authority] == [True]
    assert len(resolver.names) == 1
    lines = served.metrics().split("\n")
    here = 'server="dns://:53",type="denial",zones=".",view=""'
    assert f"coredns_cache_entries{{{here}}} 1" in lines
    assert f"coredns_cache_hits_total{{{here}}} 2" in lines
    assert 'coredns_cache_misses_total{server="dns://:53",zones=".",view=""} 1' in lines
    to = f'proxy_name="forward",to="{at(resolver)[0]}",rcode="NXDOMAIN"'
    assert f"coredns_proxy_request_duration_seconds_count{{{to}}} 1" in lines
    await until(
        lambda: sum(count for _, count in counted(served)) == 3
    )  # what is sent is counted afterwards
    assert counted(served) == [("cache", 2), ("forward", 1)]


def counted(served) -> list[tuple[str, int]]:
    """Return the UDP queries counted so far, by who answered them."""
    found = Counter()
    for cell in served.udp.cells.snapshot() + served.udp.later_cells.snapshot():
        found[cell.labels.plugin] += cell.count
    return sorted(found.items())


async def test_the_clients_letters_stay(start):
    served = await start(upstreams=at(await start(script=says(WWW))))
    for _ in range(2):
        response = await ask(served, "wWw.Example.COM.")
        assert str(response.answer[0].name) == "wWw.Example.COM."


@pytest.mark.parametrize("domain", ["", "corp.example="])
async def test_a_resolver_that_leads_back_is_named(start, domain, monkeypatch):
    monkeypatch.setattr(exchange, "READ_SECONDS", 5)
    port = next(PORTS)
    monkeypatch.setattr("tests.support.control.resolvers.PORTS", iter([port]))
    places = {"stubs": [f"{domain}{HOST}:{port}"]} if domain else {"upstreams": [f"{HOST}:{port}"]}
    served = await start(**places)
    with pytest.raises(LoopError, match=f"resolver {HOST}:{port} .* leads back to this server"):
        await Loops(served.forwarder, served.routes).watch()


async def test_a_fine_resolver_is_no_loop(start):
    resolver = await start(script=says(rcode=3))
    served = await start(upstreams=at(resolver))
    watching = asyncio.create_task(Loops(served.forwarder, served.routes).watch())
    await until(lambda: len(resolver.names) == loop._PROBES)
    assert not watching.done()
    watching.cancel()
    assert {query.question[0].rdtype.name for query in resolver.asked} == {"HINFO"}
