"""ValidatingAdmissionPolicies: what they refuse, warn of, and note."""

from tests.support.control.policies import BINDINGS, POLICIES, binding, policy
from tests.support.control.requests import CORE, Api, config_map


async def bound(api: Api, *made: dict, bindings: tuple[dict, ...] = ()) -> None:
    for each in made:
        await api.make(POLICIES, each)
    for each in bindings or (binding(),):
        await api.make(BINDINGS, each)


async def test_a_policy_denies(api: Api):
    await bound(api, policy("object.data.size() <= 1"))
    refused = await api("POST", f"{CORE}/configmaps", config_map(a="1", b="2"))
    why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request:"
    why += " failed expression: object.data.size() <= 1"
    assert (refused.code, refused["reason"]) == (422, "Invalid")
    assert refused["message"] == f'configmaps "a" is forbidden: {why}'
    assert refused["details"] == {
        "name": "a",
        "kind": "configmaps",
        "causes": [{"message": why}],
    }
    await api.make(f"{CORE}/configmaps", config_map(a="1"))
