"""The real kubectl with custom resources."""

import json
from pathlib import Path

import pytest

from tests.support.control.definitions import COLUMNS, NAME, crontab, definition, version
from tests.support.control.kubectls import KUBECTLS, Kubectl
from tests.support.control.secured import Secured

SUBRESOURCES = {
    "status": {},
    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
}


# The one on the PATH and the oldest one: they ask for other schemas.
@pytest.mark.parametrize("program", KUBECTLS[:2], ids=lambda path: path.name)
async def test_users_commands_on_custom_resources(secured: Secured, program: Path):
    kubectl = Kubectl(secured, str(program))
    made = definition(version(additionalPrinterColumns=COLUMNS, subresources=SUBRESOURCES))
    assert await kubectl("create", "-f", "-", stdin=json.dumps(made)) == (
        f"customresourcedefinition.apiextensions.k8s.io/{NAME} created\n"
    )
    await kubectl("wait", "--for=condition=Established", f"crd/{NAME}")
    assert "crontabs" in await kubectl("api-resources", "--api-group=example.com")
    body = json.dumps(crontab(replicas=2))
    assert await kubectl("apply", "-f", "-", stdin=body) == "crontab.example.com/a created\n"
    assert await kubectl("apply", "-f", "-", stdin=body) == "crontab.example.com/a unchanged\n"
    changed = json.dumps(crontab(replicas=3))
    assert await kubectl("apply", "-f", "-", stdin=changed) == "crontab.example.com/a configured\n"
    header, row = (await kubectl("get", "ct")).splitlines()
    assert header.split() == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert row.split()[:-1] == ["a", "*", "*", "*", "*", "*/5", "3"]
    assert await kubectl("scale", "ct/a", "--replicas=4") == "crontab.example.com/a scaled\n"
    assert "FIELD: cronSpec <string>" in await kubectl("explain", "crontab.spec.cronSpec")
    refused = await kubectl.try_("apply", "-f", "-", stdin=json.dumps(crontab("b", typo=1)))
    assert (refused.code, 'unknown field "spec.typo"' in refused.err) == (1, True)
    await kubectl("delete", "crd", NAME)
    assert (await kubectl.try_("get", "ct")).code == 1
