"""Patches of a workload's Scale."""

import pytest

from tests.support.control.requests import MERGE, STRATEGIC, Api, deployment

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.mark.parametrize(("media", "code"), [(STRATEGIC, 200), (MERGE, 422)])
async def test_a_strategic_patch_may_name_the_workloads_kind(api: Api, media: str, code: int):
    """As ansible's kubernetes.core sends it; a merge patch is decoded as what it says it is."""
    await api.make(DEPLOYMENTS, deployment("d", replicas=1))
    patch = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
    answer = await api("PATCH", f"{DEPLOYMENTS}/d/scale", patch, media)
    assert answer.code == code
    if code == 200:
        assert (answer["kind"], answer["spec"]["replicas"]) == ("Scale", 3)
