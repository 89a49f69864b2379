"""Objects with hostile text in one string, for every string of an object."""

import copy
from collections.abc import Iterator
from typing import Any

from proxy.desired.weights import ANNOTATION as WEIGHTS
from proxy.objects.parse import BALANCE

EVIL = (
    "",
    " ",
    '"',
    "\\",
    "\0",
    "%s%n",
    "-A",
    "COMMIT",
    "*filter",
    ":FORWARD DROP [0:0]",
    'x" -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n',
    'x" ; flush ruleset ; #',
    "} ; delete table ip mine",
    "goto refuse",
    "@services",
    "$(reboot)`reboot`",
    "../../../etc/passwd",
    "\x1b[2J\u202e\u2028\U0001f4a5",
    "é" * 300,
    "10.96.0.0/0",
    "::ffff:10.96.0.1",
    "fe80::1%eth0",
    "0x7f.1",
    "127.0.0.1\n",
)
GOOD_VIP, GOOD_POD = "10.96.200.1", "10.244.1.2"
_META = {"namespace": "ns", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026"}


def service(number: int, vip: str = "") -> dict[str, Any]:
    """Return a Service with every field set, at addresses of its own."""
    high, low = divmod(number, 250)
    vip = vip or f"10.96.{100 + high}.{low + 1}"
    port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "appProtocol": "h2"}
    return {
        "metadata": {
            **_META,
            "name": f"s{number}",
            "labels": {"app": "web"},
            "annotations": {WEIGHTS: "web-1=2,*=3", BALANCE: "random"},
            "finalizers": ["x/y"],
        },
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "clusterIP": vip,
            "clusterIPs": [vip, f"fd00:10:96::1:{number + 1:x}"],
            "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [port, {**port, "name": "dns", "protocol": "UDP", "port": 53}],
            "externalIPs": [f"198.51.{high}.{low + 1}"],
            "externalName": "x.example",
            "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster",
            "loadBalancerIP": f"203.0.{high}.{low + 1}",
            "loadBalancerClass": "x/y",
            "loadBalancerSourceRanges": ["192.168.0.0/16"],
            "sessionAffinity": "None" if number % 20 else "ClientIP",  # which kernels load slowly
            "trafficDistribution": "PreferSameZone",
        },
        "status": {
            "loadBalancer": {
                "ingress": [{"ip": f"203.0.{high}.{low + 1}", "ipMode": "VIP", "hostname": "x"}]
            },
            "conditions": [{"type": "x", "status": "True", "reason": "x", "message": "x"}],
        },
    }


def endpoints(number: int, pod: str = "10.244.2.2") -> dict[str, Any]:
    """Return its EndpointSlice."""
    return {
        "metadata": {
            **_META,
            "name": f"s{number}-x",
            "labels": {"kubernetes.io/service-name": f"s{number}", "app": "web"},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 8080, "appProtocol": "h2"},
            {"name": "dns", "protocol": "UDP", "port": 8080},
        ],
        "endpoints": [
            {
                "addresses": [pod],
                "conditions": {"ready": True},
                "hostname": "web-1",
                "nodeName": "n2",
                "zone": "z1",
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": "web-1", "uid": "p"},
                "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]},
                "deprecatedTopology": {"a": "b"},
            }
        ],
    }


def pairs(evil: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield a Service with its slice for each string in either; that one string is ``evil``."""
    number = 0
    for place, make in enumerate((service, endpoints)):
        for path in _strings(make(0)):
            number += 1
            both = service(number), endpoints(number)
            _replace(both[place], path, evil)
            yield both


Path = tuple[str | int, ...]
# Values of every kind, of which hardly any belongs where it is put.
MANGLED: tuple[Any, ...] = (
    *(None, [], {}, "", "x", 0, -1, 65536, 2**31, 2**60, 1.5, True),
    *([None], [[]], [{}], ["x"], {"a": None}, {"a": {}}, ["x"] * 2000),
)


def mangled() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("service" or "slice", object): each part of it in turn is replaced by each of
    ``MANGLED``.
    """
    for sort, make in (("service", service), ("slice", endpoints)):
        for path in _parts(make(0)):
            for value in MANGLED:
                wire = make(0)
                _replace(wire, path, value)
                yield sort, wire


def _parts(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every part."""
    inner = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else inner:
        yield (*path, key)
        yield from _parts(item, (*path, key))


def _strings(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every string; "<key>" at the end means the name of a map's member."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, (*path, key))
        if path and path[-1] in ("labels", "annotations", "selector"):
            yield from ((*path, key, "<key>") for key in value)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _strings(item, (*path, place))


def _replace(wire: Any, path: Path, evil: str) -> None:
    *way, last = path
    if last == "<key>":
        *way, last = way
        for step in way:
            wire = wire[step]
        wire[evil] = wire.pop(last)
        return
    for step in way:
        wire = wire[step]
    wire[last] = evil


def good() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a correct Service, which every client must reach."""
    web, behind = service(0, GOOD_VIP), endpoints(0, GOOD_POD)
    for part in ("externalIPs", "sessionAffinity", "loadBalancerIP", "clusterIPs"):
        del web["spec"][part]
    web["metadata"]["name"] = "good"
    del web["status"]
    behind["metadata"] |= {"name": "good-x", "labels": {"kubernetes.io/service-name": "good"}}
    return copy.deepcopy(web), behind
