"""The DNS specification 1.1, section by section, as one table: a question and its answer."""

import dns.message
import pytest

from control.api.service import EndpointSlice
from control.dns.records import A
from tests.support.control.names import Names, namespace, part, pod, service, shown

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
    service("number", type="ExternalName", externalName="10.3.0.1", clusterIP=""),
    service("chain", type="ExternalName", externalName=f"alias.{IN}", clusterIP=""),
    service("mirror", ports=[HTTPS]),
    part("mirror", ("10.3.0.140", "", True), ports=[HTTPS]),
    service("twin"),
    part("twin", ("10.3.0.140", "two", True), ("2001:db8::6", "two", True)),
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
    ("number", "A", "NXDOMAIN", []),
    ("number", "CNAME", "NXDOMAIN", []),
    ("x.foo", "A", "NXDOMAIN", []),
    ("_https._tcp.foo", "SRV", "NXDOMAIN", []),
    ("chain", "A", "NOERROR", ["10.3.0.1", f"alias.{IN}", f"kubernetes.{IN}"]),
    ("chain", "CNAME", "NOERROR", [f"alias.{IN}"]),
    ("mirror", "SRV", "NOERROR", [f"0 100 443 10-3-0-140.mirror.{IN}"]),
    ("twin", "SRV", "NOERROR", []),
    ("140.0.3.10.in-addr.arpa.", "PTR", "NOERROR", [f"10-3-0-140.mirror.{IN}", f"two.twin.{IN}"]),
    (REVERSE6.replace("1.", "6.", 1), "PTR", "NOERROR", [f"two.twin.{IN}"]),
    ("140.0.3.10.in-addr.arpa.", "A", "NOERROR", []),
    ("_gossip._tcp.headless", "SRV", "NXDOMAIN", []),
    ("_gossip._udp.headless", "A", "NOERROR", []),
    ("_gossip._udp.my-pet.headless", "SRV", "NXDOMAIN", []),
    # Wildcards, which CoreDNS gave up in 1.9.
    ("*", "A", "NXDOMAIN", []),
    ("any", "A", "NXDOMAIN", []),
    ("*.headless", "A", "NXDOMAIN", []),
    ("_*._tcp.kubernetes", "SRV", "NXDOMAIN", []),
    ("kubernetes.*.svc.cluster.local.", "A", "NXDOMAIN", []),
    ("*.pod.cluster.local.", "A", "NXDOMAIN", []),
    ("kubernetes", "ANY", "NOERROR", []),
    ("kubernetes", "HINFO", "NOERROR", []),
    ("kubernetes", "SOA", "NOERROR", []),
    ("absent", "ANY", "NXDOMAIN", []),
    (
        "cluster.local.",
        "SOA",
        "NOERROR",
        ["ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 5"],
    ),
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("KuberNetes", "A"),
        ("HeadLess", "AAAA"),
        ("_Https._Tcp.Kubernetes", "SRV"),
        ("FOO", "CNAME"),
    ],
)
def test_an_answer_has_the_names_letters_as_they_were_asked(names, name, kind):
    response = names.ask(f"{name}.Default.svc.CLUSTER.local.", kind)
    assert response.answer[0].name.to_text() == f"{name}.Default.svc.CLUSTER.local."


# mode: the Pods' names that have an address
PODS = {
    "insecure": {"10-244-0-5", "10-244-0-6", "10-244-0-7", "10-244-0-9"},
    "verified": {"10-244-0-5"},
    "disabled": set(),
}


@pytest.mark.parametrize("mode", PODS)
def test_names_of_pods_go_by_the_mode(mode):
    """One Pod runs, one has another address now, one is being deleted, one never was."""
    names = Names(
        *(namespace("default"), namespace("other"), pod("a", "10.244.0.5")),
        pod("gone", "10.244.0.7", deletionTimestamp="2026-01-01T00:00:00Z"),
        pods=mode,
    )
    names.put(pod("b", "10.244.0.6"))
    names.put(pod("b", "10.244.1.6"), pod("b", "10.244.0.6"))
    found = {
        each
        for each in PODS["insecure"]
        if names.ask(f"{each}.default.pod.cluster.local.", "A").answer
    }
    assert found == PODS[mode]
    assert bool(names.ask("10-244-0-5.other.pod.cluster.local.", "A").answer) == (
        mode == "insecure"
    )
    names.put(None, pod("a", "10.244.0.5"))
    rcode = names.ask("10-244-0-5.default.pod.cluster.local.", "A").rcode().name
    assert rcode == ("NOERROR" if mode == "insecure" else "NXDOMAIN")
    assert names.ask("default.pod.cluster.local.", "A").rcode().name == "NOERROR"


def test_endpoints_have_the_names_of_their_pods_if_asked():
    found = part("pets", ("10.3.0.1", "", True), ("10.3.0.2", "cat", True)).wire()
    for each in found["endpoints"]:
        each["targetRef"] = {"kind": "Pod", "name": f"pets-{each['addresses'][0][-1]}"}
    objects = service("pets"), EndpointSlice.parse(found)
    for asked, names in ((False, ["10-3-0-1", "cat"]), (True, ["cat", "pets-1"])):
        zone = Names(*objects, pod_names=asked)
        known = ["10-3-0-1", "cat", "pets-1", "pets-2"]
        assert [x for x in known if zone.ask(f"{x}.pets.{IN}", "A").answer] == names


def test_the_name_servers_own_address_comes_along():
    names = Names()
    names.zone.serve_at({A: (b"\x0a\x60\0\x0a",)})
    response = names.ask("cluster.local.", "NS")
    assert shown(response.additional) == ["ns.dns.cluster.local. 5 A 10.96.0.10"]


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
