"""The ends of a trace, as users write them."""

import pytest

from debug.cluster import ClusterState
from debug.trace.ends import End, EndError, find_target, parse_end
from proxy.policy.wire import Pod


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("web", End("", "default", "web")),
        ("kube-system/dns:53/udp", End("", "kube-system", "dns", 53, "udp")),
        ("service/web", End("service", "default", "web")),
        ("svc/prod/web:80", End("service", "prod", "web", 80)),
        ("pod/prod/web-1/icmp", End("pod", "prod", "web-1", None, "icmp")),
        ("node/n1:30080/TCP", End("node", "default", "n1", 30080, "tcp")),
        ("10.0.0.1:80", End("", "default", "10.0.0.1", 80)),
        ("fd00::1", End("", "default", "fd00::1")),
        ("[fd00::1]:80/udp", End("", "default", "fd00::1", 80, "udp")),
    ],
)
def test_an_end_is_a_kind_a_namespace_a_name_a_port_and_a_protocol(text: str, end: End) -> None:
    assert parse_end(text) == end


@pytest.mark.parametrize("text", ["", "a/b/c/d", "web:0", "web:66000", "web:x", "x" * 700, "pod/"])
def test_what_is_no_end_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(EndError, match=r"is no (end|port)"):
        parse_end(text)


@pytest.mark.parametrize("ips", [[], [{"ip": ""}], [{"ip": "fe80::1%x }; flush ruleset"}]])
def test_a_pod_without_an_address_is_no_target(ips: list[dict[str, str]]) -> None:
    wire = {"metadata": {"name": "web", "namespace": "default"}, "status": {"podIPs": ips}}
    with pytest.raises(EndError, match="Pod default/web has no address yet"):
        find_target(parse_end("web:80"), ClusterState(pods=(Pod.read(wire),)))
