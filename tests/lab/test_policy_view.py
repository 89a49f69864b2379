"""``podwire policy explain``: what may be asked, and the answer's words."""

from ipaddress import ip_address

import pytest
from msgspec import convert

from lab.policy_view import AskError, ClusterView, explain_flow, sentences
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.parse import parse_pod, parse_policy
from tests.support.proxy.policies import pod, policy

PODS = (
    pod("web", "n1", "10.0.0.1", "fd00::1", labels={"app": "web"}, ports={"http": 8080}),
    pod("db", "n1", "10.0.0.2", "fd00::2", labels={"app": "db"}),
)
FROM_WEB = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 5432}]}
FROM_NET = {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}


@pytest.fixture
def view() -> ClusterView:
    made = ClusterView()
    for one in PODS:
        value = parse_pod(convert(one, wire.Pod), "")
        assert value
        made.pods[value.key] = value
        made.nodes[value.key] = [ip_address("192.0.2.9")]
    made.known = {*made.pods, ("ns", "pending")}
    made.services = {("ns", "shop"): ["10.96.0.9", "fd00:96::9"], ("ns", "bare"): []}
    for one in (
        policy("deny", {"app": "db"}, ingress=[]),
        policy("allow", {"app": "db"}, ingress=[FROM_WEB, FROM_NET]),
    ):
        value = parse_policy(convert(one, wire.NetworkPolicy), Complaints("policy"))
        assert value
        made.policies.append(value)
    return made


def test_the_answer_names_each_rule(view: ClusterView) -> None:
    found = explain_flow(view, "web", "db:80", "ns")
    assert [flow.passes for flow in found] == [False, False]  # IPv4 and IPv6
    assert [*sentences(found[0])] == [
        "10.0.0.1 to 10.0.0.2: is dropped",
        "  egress of ns/web: no policy isolates it",
        "  ingress of ns/db: no rule admits it",
        "    ns/allow",
        "      rule 0: 80/TCP is none of its ports",
        "      rule 1: ns/web is none of its peers",
        "    ns/deny: it has no rule",
    ]


ASKED = {
    ("ns/web", "ns/db:5432"): True,
    ("web", "db:5432/tcp"): True,
    ("web", "db:5432/UDP"): False,
    ("web", "db"): False,
    ("192.0.2.7", "db:1"): True,
    ("192.0.2.7", "db"): True,
    ("192.0.2.9", "db:1"): True,  # its node
    ("fd00::1", "[fd00::2]:5432"): True,
    ("2001:db8::1", "fd00::2"): False,
    ("db", "db:1"): True,
    ("pod/web", "pod/db:5432"): True,  # as kubectl -o name prints them
}


@pytest.mark.parametrize("row", ASKED)
def test_who_may_be_asked_for(view: ClusterView, row: tuple[str, str]) -> None:
    assert {flow.passes for flow in explain_flow(view, *row, "ns")} == {ASKED[row]}


WRONG = {
    ("web", "nobody:1"): "no Pod ns/nobody; an end is [NAMESPACE/]POD or an address",
    ("web", "pending:1"): "Pod ns/pending has no address of its own: it did not start",
    ("web", "db:http"): "'http' is no port: give a number, such as db:80",
    ("web", "db:70000"): "'70000' is no port",
    ("web", "db/UDP"): "db: a protocol with ports needs one: db:80/UDP",
    (
        "web",
        "shop:80",
    ): "shop is a Service, ns/shop, and rules see the Pods behind it: ask about one",
    ("web", "svc/shop:80"): "kubectl get endpointslices -n ns -l kubernetes.io/service-name=shop",
    ("web", "10.96.0.9:80"): "10.96.0.9 is a Service, ns/shop",
    ("web", "[fd00:96::9]:80"): "fd00:96::9 is a Service, ns/shop",
    ("web", "svc/nobody:80"): "no Pod svc/nobody",
    ("192.0.2.1", "fd00::2"): "have no address of one IP family",
}


@pytest.mark.parametrize("row", WRONG)
def test_what_is_no_flow_is_said(view: ClusterView, row: tuple[str, str]) -> None:
    with pytest.raises(AskError) as err:
        explain_flow(view, *row, "ns")
    assert WRONG[row] in str(err.value)
