"""FlowSchemas and PriorityLevelConfigurations through the real kubectl."""

import json

import pytest

from tests.support.control.kubectls import Kubectl

MINE = """
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: mine}
spec:
  matchingPrecedence: 500
  priorityLevelConfiguration: {name: mine}
  rules:
  - subjects: [{kind: User, user: {name: alice}}]
    nonResourceRules: [{verbs: [get], nonResourceURLs: [/version]}]
"""
LEVEL = """
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: mine}
spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}
"""


async def condition(kubectl: Kubectl, status: str) -> dict[str, str]:
    found = f'jsonpath={{.status.conditions[?(@.type=="Dangling")].status}}={status}'
    await kubectl("wait", "--timeout=10s", f"--for={found}", "flowschema/mine")
    shown = json.loads(await kubectl("get", "flowschema", "mine", "-o", "json"))
    (said,) = shown["status"]["conditions"]
    return dict(said)


async def test_a_schema_says_whether_its_level_is_there(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MINE)
    said = await condition(kubectl, "True")
    about = 'This FlowSchema references the PriorityLevelConfiguration object named "mine"'
    assert (said["reason"], said["message"]) == (
        "NotFound",
        f"{about} but there is no such object",
    )
    lines = (await kubectl("get", "flowschemas")).splitlines()
    assert lines[0].split() == [
        *("NAME", "PRIORITYLEVEL", "MATCHINGPRECEDENCE", "DISTINGUISHERMETHOD", "AGE"),
        "MISSINGPL",
    ]
    (row,) = [line.split() for line in lines if line.startswith("mine ")]
    assert [*row[:4], row[5]] == ["mine", "mine", "500", "<none>", "True"]
    await kubectl("apply", "-f", "-", stdin=LEVEL)
    said = await condition(kubectl, "False")
    assert (said["reason"], said["message"]) == ("Found", f"{about} and it exists")
    await kubectl("delete", "prioritylevelconfiguration", "mine")
    await condition(kubectl, "True")


async def test_every_schema_of_a_cluster_has_its_level(kubectl: Kubectl) -> None:
    for name in ("catch-all", "global-default"):
        told = 'jsonpath={.status.conditions[?(@.type=="Dangling")].status}=False'
        await kubectl("wait", "--timeout=10s", f"--for={told}", f"flowschema/{name}")


async def test_a_level_shows_its_defaults(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=LEVEL)
    head, row = (await kubectl("get", "prioritylevelconfiguration", "mine")).splitlines()
    assert head.split() == [
        *("NAME", "TYPE", "NOMINALCONCURRENCYSHARES", "QUEUES", "HANDSIZE"),
        *("QUEUELENGTHLIMIT", "AGE"),
    ]
    assert row.split()[:-1] == ["mine", "Limited", "30", "64", "8", "50"]


@pytest.mark.parametrize(
    ("what", "patch", "wanted"),
    [
        (
            "prioritylevelconfiguration/catch-all",
            {"spec": {"limited": {"nominalConcurrencyShares": 50}}},
            "spec of 'catch-all' must equal the fixed value",
        ),
        (
            "flowschema/exempt",
            {"spec": {"priorityLevelConfiguration": {"name": "catch-all"}}},
            "spec of 'exempt' must equal the fixed value",
        ),
        (
            "flowschema/global-default",
            {"spec": {"matchingPrecedence": 1}},
            "only the schema named 'exempt' may have matchingPrecedence 1",
        ),
    ],
)
async def test_a_wrong_change_is_refused(
    kubectl: Kubectl, what: str, patch: object, wanted: str
) -> None:
    done = await kubectl.try_("patch", what, "--type=merge", "-p", json.dumps(patch))
    assert done.code == 1
    assert wanted in done.err


async def test_what_the_exempt_level_lends_stays_as_it_is_written(kubectl: Kubectl) -> None:
    patch = '{"spec":{"exempt":{"nominalConcurrencyShares":7}}}'
    level = "prioritylevelconfiguration/exempt"
    await kubectl("patch", level, "--type=merge", "-p", patch)
    shares = "jsonpath={.spec.exempt.nominalConcurrencyShares}"
    assert await kubectl("get", level, "-o", shares) == "7"


async def test_dumps_are_read_by_kubectl(kubectl: Kubectl) -> None:
    root = "/debug/api_priority_and_fairness"
    levels = (await kubectl("get", "--raw", f"{root}/dump_priority_levels")).splitlines()
    assert levels[0].startswith("PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing,")
    assert len(levels) == 1 + 8
    queues = (await kubectl("get", "--raw", f"{root}/dump_queues")).splitlines()
    assert sum(line.startswith("node-high, ") for line in queues) == 64
    asked = await kubectl("get", "--raw", f"{root}/dump_requests?includeRequestDetails=1")
    last = [cell.strip() for cell in asked.splitlines()[-1].split(",")]
    assert last[10:13] == ["admin", "get", f"{root}/dump_requests"]
    refused = await kubectl.try_("get", "--raw", f"{root}/dump_nothing")
    assert (refused.code, "NotFound" in refused.err) == (1, True)
