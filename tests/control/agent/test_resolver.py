"""A Pod's resolv.conf by dnsPolicy and dnsConfig, with kubelet's merging and limits."""

import pytest

from control.agent.pods.resolver import ClusterDns, resolv_conf
from control.api.pod import Pod

NODE = "# the node's\nsearch old\nsearch lan. corp\nnameserver 9.9.9.9\noptions rotate edns0\n"
DNS = ClusterDns(("10.96.0.10", "fd00:10:96::a"), "cluster.local", NODE)
INSIDE = "search default.svc.cluster.local svc.cluster.local cluster.local lan corp\n"
SERVERS = "nameserver 10.96.0.10\nnameserver fd00:10:96::a\n"
ITS_NODES = "search lan corp\nnameserver 9.9.9.9\noptions rotate edns0\n"


def pod(**spec):
    meta = {"name": "p", "namespace": "default", "uid": "u"}
    return Pod.parse({"metadata": meta, "spec": {"containers": []} | spec})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, f"{INSIDE}{SERVERS}options ndots:5\n"),
        ({"dnsPolicy": "ClusterFirst"}, f"{INSIDE}{SERVERS}options ndots:5\n"),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, ITS_NODES),
        (
            {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
            f"{INSIDE}{SERVERS}options ndots:5\n",
        ),
        ({"dnsPolicy": "Default"}, ITS_NODES),
        (
            {"dnsPolicy": "Default", "dnsConfig": {"nameservers": ["9.9.9.9", "1.1.1.1"]}},
            "search lan corp\nnameserver 9.9.9.9\nnameserver 1.1.1.1\noptions rotate edns0\n",
        ),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["1.1.1.1"],
                    "searches": ["x", "y", "x"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
            },
            "search x y\nnameserver 1.1.1.1\noptions ndots:2 edns0\n",
        ),
        (
            {
                "dnsConfig": {
                    "searches": ["svc.cluster.local", "more"],
                    "options": [{"name": "ndots", "value": "1"}, {"name": "timeout", "value": "3"}],
                }
            },
            f"{INSIDE.rstrip()} more\n{SERVERS}options ndots:1 timeout:3\n",
        ),
    ],
)
def test_a_policys_file(spec, text):
    made = resolv_conf(pod(**spec), DNS)
    assert (made.text, made.problems) == (text, ())


def test_without_cluster_dns_the_nodes_file_is_the_pods():
    assert resolv_conf(pod(), ClusterDns((), "cluster.local", NODE)).text == ITS_NODES


def test_a_fourth_nameserver_is_left_out_and_said():
    config = {"nameservers": ["1.1.1.1", "2.2.2.2"]}
    made = resolv_conf(pod(dnsConfig=config), DNS)
    assert made.text.count("nameserver") == 3
    assert made.problems == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
        "nameserver line is: 10.96.0.10 fd00:10:96::a 1.1.1.1",
    )


@pytest.mark.parametrize(
    ("searches", "kept"),
    [
        ([f"d{number}" for number in range(40)], 32),
        (["a" * 253] * 1 + ["b" * 254, "c"], 5 + 2),
        (["x" * 250 + str(number) for number in range(10)], 5 + 7),
    ],
)
def test_searches_beyond_the_limits_are_left_out_and_said(searches, kept):
    made = resolv_conf(pod(dnsConfig={"searches": searches}), DNS)
    line = made.text.splitlines()[0].removeprefix("search ")
    assert len(line.split()) == kept
    assert len(line) <= 2048
    [problem] = made.problems
    assert problem == (
        "Search Line limits were exceeded, some search paths have been omitted, the applied "
        f"search line is: {line}"
    )
