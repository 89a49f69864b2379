"""Warnings of what upstream 1.36 warns of, in its words."""

from typing import Any

import pytest

from tests.support.control.requests import CORE, MERGE, Api, service

SERVICES = f"{CORE}/services"
DEPRECATED = "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
CLOSE = 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


def headers(*texts: str) -> tuple[str, ...]:
    return tuple('299 - "{}"'.format(text.replace('"', '\\"')) for text in texts)


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({}, ()),
        ({"externalIPs": ["192.0.2.1"]}, (DEPRECATED,)),
        ({"trafficDistribution": "PreferClose"}, (CLOSE,)),
        ({"trafficDistribution": "PreferSameZone"}, ()),
        (
            {"clusterIP": "None", "externalIPs": ["192.0.2.1"], "sessionAffinity": "ClientIP"},
            (
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ),
        ),
        (
            {"externalIPs": ["2001:DB8::1"]},
            (
                'spec.externalIPs[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical'
                ' format ("2001:db8::1")',
                DEPRECATED,
            ),
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["2001:DB8::/64"]},
            (
                'spec.loadBalancerSourceRanges[0]: IPv6 CIDR value "2001:DB8::/64" should be in'
                ' RFC 5952 canonical format ("2001:db8::/64")',
            ),
        ),
        (
            {"externalName": "a.example"},
            ('spec.externalName is ignored when spec.type is not "ExternalName"',),
        ),
    ],
)
async def test_a_service_is_warned_of(api: Api, spec: dict[str, Any], texts: tuple[str, ...]):
    made = await api("POST", SERVICES, service(**spec))
    assert (made.code, made.warnings) == (201, headers(*texts)), made
    label = {"metadata": {"labels": {"a": "b"}}}
    for patch in (label, label):  # the second one changes nothing
        changed = await api("PATCH", f"{SERVICES}/s", patch, MERGE)
        assert (changed.code, changed.warnings) == (200, headers(*texts))
    status = await api("PATCH", f"{SERVICES}/s/status", label, MERGE)
    assert (status.code, status.warnings) == (200, ())


async def test_each_answer_about_endpoints_is_warned_of(api: Api):
    path = f"{CORE}/endpoints"
    wire = {"metadata": {"name": "e"}}
    for method, where, body in (
        ("POST", path, wire),
        ("GET", f"{path}/e", None),
        ("GET", path, None),
        ("GET", f"{path}/none", None),
        ("GET", f"{path}?watch=1&timeoutSeconds=0&resourceVersion=x", None),
        ("PUT", f"{path}/e", wire),
        ("DELETE", f"{path}/e", None),
    ):
        reply = await api(method, where, body)
        assert reply.warnings == headers(ENDPOINTS), (method, where, reply)
    async with api.session.get(f"{path}?watch=1") as watch:
        assert tuple(watch.headers.getall("Warning")) == headers(ENDPOINTS)


@pytest.mark.parametrize("address", ["192.0.02.1", "010.0.0.1", "0192.0.2.1"])
async def test_addresses_with_leading_zeros_are_refused(api: Api, address: str):
    for spec in ({"externalIPs": [address]}, {"clusterIP": address}):
        refused = await api("POST", SERVICES, service(**spec))
        assert refused.code == 422, refused
    subsets = [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]
    ends = {"metadata": {"name": "e"}, "subsets": subsets}
    assert (await api("POST", f"{CORE}/endpoints", ends)).code == 422
    node = {
        "metadata": {"name": "n"},
        "spec": {"podCIDR": f"{address}/24", "podCIDRs": [f"{address}/24"]},
    }
    assert (await api("POST", "/api/v1/nodes", node)).code == 422
    ranges = {"type": "LoadBalancer", "loadBalancerSourceRanges": [f"{address}/32"]}
    assert (await api("POST", SERVICES, service(**ranges))).code == 422
