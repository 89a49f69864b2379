"""The DNS specification 1.1, section by section, as one table: a question and its answer."""

import dns.message
import pytest

from tests.support.control.names import Names, namespace, part, service, shown

HTTPS = ("https", 443, "TCP")
IN = "default.svc.cluster.local."
REVERSE6 = "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa."
OBJECTS = (
    namespace("default"),
    service("kubernetes", "10.3.0.1", "2001:db8::1", ports=[HTTPS, ("", 80, "TCP")]),
    service("headless", ports=[HTTPS, ("gossip", 7946, "UDP")]),
    part(
        "headless",
        ("10.3.0.100", "my-pet", True),
        ("10.3.0.101", "my-pet", True),
        ("10.3.0.102", "", True),
        ("10.3.0.103", "not-ready", False),
        ports=[("https", 8443, "TCP"), ("gossip", 7946, "UDP")],
    ),
    part("headless", ("2001:db8::5", "my-pet", True), family="IPv6", suffix="b", ports=[HTTPS]),
    service("early", publishNotReadyAddresses=True),
    part("early", ("10.3.0.110", "", False)),
    service("nobody"),
    part("nobody", ("10.3.0.120", "", False)),
    service("portless"),
    part("portless", ("10.3.0.130", "", True)),
    service("foo", type="ExternalName", externalName="www.example.com", clusterIP=""),
    service("alias", type="ExternalName", externalName=f"kubernetes.{IN}", clusterIP=""),
    service("round", type="ExternalName", externalName=f"round.{IN}", clusterIP=""),
)

# name (below default.svc.cluster.local, unless it ends with a dot), type: rcode, values
TABLE = [
    ("dns-version.cluster.local.", "TXT", "NOERROR", ['"1.1.0"']),
    ("kubernetes", "A", "NOERROR", ["10.3.0.1"]),
    ("KuberNetes", "A", "NOERROR", ["10.3.0.1"]),
    ("kubernetes", "AAAA", "NOERROR", ["2001:db8::1"]),
    ("kubernetes", "MX", "NOERROR", []),
    ("_https._tcp.kubernetes", "SRV", "NOERROR", [f"0 100 443 kubernetes.{IN}"]),
    ("_HTTPS._TCP.kubernetes", "SRV", "NOERROR", [f"0 100 443 kubernetes.{IN}"]),
    ("_https._udp.kubernetes", "SRV", "NXDOMAIN", []),
    ("_._tcp.kubernetes", "SRV", "NXDOMAIN", []),
    ("_tcp.kubernetes", "SRV", "NOERROR", []),
    ("kubernetes", "SRV", "NOERROR", [f"0 50 443 kubernetes.{IN}", f"0 50 80 kubernetes.{IN}"]),
    ("1.0.3.10.in-addr.arpa.", "PTR", "NOERROR", [f"kubernetes.{IN}"]),
    (REVERSE6, "PTR", "NOERROR", [f"kubernetes.{IN}"]),
    ("headless", "A", "NOERROR", ["10.3.0.100", "10.3.0.101", "10.3.0.102"]),
    ("headless", "AAAA", "NOERROR", ["2001:db8::5"]),
    ("my-pet.headless", "A", "NOERROR", ["10.3.0.100", "10.3.0.101"]),
    ("my-pet.headless", "AAAA", "NOERROR", ["2001:db8::5"]),
    ("10-3-0-102.headless", "A", "NOERROR", ["10.3.0.102"]),
    ("not-ready.headless", "A", "NXDOMAIN", []),
    (
        "_https._tcp.headless",
        "SRV",
        "NOERROR",
        [
            f"0 33 443 my-pet.headless.{IN}",
            f"0 33 8443 10-3-0-102.headless.{IN}",
            f"0 33 8443 my-pet.headless.{IN}",
        ],
    ),
    ("100.0.3.10.in-addr.arpa.", "PTR", "NOERROR", [f"my-pet.headless.{IN}"]),
    ("102.0.3.10.in-addr.arpa.", "PTR", "NOERROR", [f"10-3-0-102.headless.{IN}"]),
    ("103.0.3.10.in-addr.arpa.", "PTR", "NXDOMAIN", []),
    ("early", "A", "NOERROR", ["10.3.0.110"]),
    ("nobody", "A", "NXDOMAIN", []),
    ("portless", "A", "NOERROR", ["10.3.0.130"]),
    ("foo", "CNAME", "NOERROR", ["www.example.com."]),
    ("foo", "A", "NXDOMAIN", ["www.example.com."]),
    ("alias", "A", "NOERROR", ["10.3.0.1", f"kubernetes.{IN}"]),
    ("alias", "AAAA", "NOERROR", ["2001:db8::1", f"kubernetes.{IN}"]),
    ("alias", "TXT", "NOERROR", [f"kubernetes.{IN}"]),
    ("round", "A", "NOERROR", []),
    ("absent", "A", "NXDOMAIN", []),
    ("below.kubernetes", "A", "NXDOMAIN", []),
    (IN, "A", "NOERROR", []),
    ("svc.cluster.local.", "A", "NOERROR", []),
    ("other.svc.cluster.local.", "A", "NXDOMAIN", []),
    ("cluster.local.", "A", "NOERROR", []),
    ("cluster.local.", "NS", "NOERROR", ["ns.dns.cluster.local."]),
    ("10-244-0-9.default.pod.cluster.local.", "A", "NOERROR", ["10.244.0.9"]),
    ("10-244-0-9.default.pod.cluster.local.", "AAAA", "NOERROR", []),
    ("fd00-10-244--9.default.pod.cluster.local.", "AAAA", "NOERROR", ["fd00:10:244::9"]),
    ("10-244-0-9.other.pod.cluster.local.", "A", "NXDOMAIN", []),
    ("10-244-0-999.default.pod.cluster.local.", "A", "NXDOMAIN", []),
    ("a.10-244-0-9.default.pod.cluster.local.", "A", "NXDOMAIN", []),
    ("default.pod.cluster.local.", "A", "NOERROR", []),
    ("example.com.", "A", "NXDOMAIN", []),
    ("9.9.9.9.in-addr.arpa.", "PTR", "NXDOMAIN", []),
    (".", "NS", "NXDOMAIN", []),
]


@pytest.fixture(scope="module")
def names():
    return Names(*OBJECTS)


@pytest.mark.parametrize(("name", "kind", "rcode", "values"), TABLE)
def test_an_answer_is_the_specifications(names, name, kind, rcode, values):
    response = names.ask(name if name.endswith(".") else f"{name}.{IN}", kind)
    found = sorted(str(rdata) for rrset in response.answer for rdata in rrset)
    assert (response.rcode().name, found) == (rcode, sorted(values))


def test_records_of_another_zones_schema_stay(names):
    response = names.ask("dns-version.cluster.local.", "TXT")
    assert shown(response.answer) == ['dns-version.cluster.local. 28800 TXT "1.1.0"']


def test_an_srv_answer_brings_the_addresses_of_its_targets(names):
    response = names.ask(f"_gossip._udp.headless.{IN}", "SRV")
    assert shown(response.additional) == [
        f"10-3-0-102.headless.{IN} 5 A 10.3.0.102",
        f"my-pet.headless.{IN} 5 A 10.3.0.100",
        f"my-pet.headless.{IN} 5 A 10.3.0.101",
        f"my-pet.headless.{IN} 5 AAAA 2001:db8::5",
    ]


@pytest.mark.parametrize(
    ("name", "kind", "owner"),
    [
        (f"absent.{IN}", "A", "cluster.local."),
        (f"kubernetes.{IN}", "MX", "cluster.local."),
        (f"foo.{IN}", "A", "."),
        ("9.9.9.9.in-addr.arpa.", "PTR", "in-addr.arpa."),
        ("1.ip6.arpa.", "PTR", "ip6.arpa."),
        ("example.com.", "A", "."),
    ],
)
def test_a_negative_answer_has_its_zones_soa(names, name, kind, owner):
    [soa] = names.ask(name, kind).authority
    assert (str(soa.name), soa.rdtype.name, soa.ttl, soa[0].minimum) == (owner, "SOA", 5, 5)


def test_addresses_take_turns(names):
    asked = dns.message.make_query(f"headless.{IN}", "A", id=0).to_wire()
    variants = names.answerer.answer(asked, tcp=False).variants
    first = [str(dns.message.from_wire(asked[:2] + each).answer[0][0]) for each in variants]
    assert first == ["10.3.0.100", "10.3.0.101", "10.3.0.102"]


def test_addresses_take_turns_by_tcp_and_for_queries_that_come_once(names):
    query = dns.message.make_query(f"Headless.{IN}", "A")
    first = set()
    for query.id in range(6):
        asked = query.to_wire()
        [response] = names.answerer.answer(asked, tcp=True).variants
        first.add(str(dns.message.from_wire(asked[:2] + response).answer[0][0]))
    assert first == {"10.3.0.100", "10.3.0.101", "10.3.0.102"}


def test_a_response_to_many_addresses_has_few_variants():
    many = [(f"10.244.{n // 200}.{n % 200 + 1}", "", True) for n in range(3000)]
    names = Names(service("many"), part("many", *many))
    asked = dns.message.make_query(f"many.{IN}", "A").to_wire()
    assert len(names.answerer.answer(asked, tcp=False).variants) == 8
    assert len(names.ask(f"many.{IN}", "A", tcp=True).answer[0]) == 3000
