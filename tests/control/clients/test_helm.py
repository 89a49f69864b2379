"""helm 4 by its defaults: a chart is installed, upgraded, tested, rolled back and removed."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.control.kubectls import KUBECTLS, Kubectl, Output, at_version
from tests.support.control.live import live_cluster

HELM = Path(sys.prefix, "bin", "helm")
CHART = Path(__file__).with_name("chart")
RELEASE = "shop"
# client-go warns of a watch that helm itself ends while an event is read.
ENDS_ITSELF = re.compile(r"watch ended with error.*from the watch stream: context canceled")


@dataclass(frozen=True)
class Helm:
    """helm, and kubectl to see what it did."""

    environment: dict[str, str]
    kubectl: Kubectl

    async def __call__(self, *words: str) -> str:
        """Run a command, which succeeds and warns of nothing; return its output."""
        done = await self.run(*words)
        warned = [line for line in done.err.splitlines() if not ENDS_ITSELF.search(line)]
        assert (done.code, warned) == (0, []), (words, done)
        return done.out

    async def run(self, *words: str) -> Output:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            HELM, *words, stdout=pipe, stderr=pipe, env=self.environment
        )
        out, err = await process.communicate()
        return Output(process.returncode or 0, out.decode(), err.decode())

    async def shown(self, what: str, path: str) -> str:
        return await self.kubectl("get", what, f"--output=jsonpath={path}")


pytestmark = pytest.mark.skipif(not HELM.exists(), reason="helm: bin/setup brings it on x86_64")


@pytest.fixture
async def helm(tmp_path: Path) -> AsyncIterator[Helm]:
    async with live_cluster(tmp_path) as server:
        home = {"HOME": str(tmp_path), "KUBECONFIG": str(server.kubeconfig)}
        yield Helm(os.environ | home, at_version(server, KUBECTLS[0]))


async def test_a_chart_comes_changes_goes_back_and_goes(helm: Helm):
    wait = ("--wait", "--timeout=240s")
    installed = await helm("install", RELEASE, str(CHART), *wait)
    assert "STATUS: deployed" in installed
    assert await helm.shown("orders/shop", "{.spec}") == '{"amount":1,"greeting":"hello"}'
    assert await helm.shown("deploy/shop", "{.status.readyReplicas}") == "1"
    assert await helm.shown("job/shop-1", "{.status.succeeded}") == "1"
    account = "--as=system:serviceaccount:default:shop"
    assert await helm.kubectl("auth", "can-i", "list", "orders", account) == "yes\n"

    values = ("--set=replicas=2", "--set=greeting=bye")
    assert "STATUS: deployed" in await helm("upgrade", RELEASE, str(CHART), *wait, *values)
    assert await helm.shown("orders/shop", "{.spec.greeting}") == "bye"
    assert await helm.shown("deploy/shop", "{.status.readyReplicas}") == "2"
    assert await helm.shown("job", "{.items[*].metadata.name}") == "shop-2"  # no hook is left
    tested = await helm("test", RELEASE, "--timeout=240s")
    assert "Phase:          Succeeded" in tested

    await helm("rollback", RELEASE, "1", *wait)
    assert await helm.shown("orders/shop", "{.spec.greeting}") == "hello"
    assert await helm.shown("deploy/shop", "{.spec.replicas}") == "1"
    history = (await helm("history", RELEASE)).splitlines()[1:]
    assert [line.split("\t")[2].strip() for line in history] == [
        "superseded",
        "superseded",
        "deployed",
    ]

    assert await helm("uninstall", RELEASE, *wait) == f'release "{RELEASE}" uninstalled\n'
    left = await helm.kubectl("get", "deploy,cm,secret,role,sa,orders,pdb,cronjob", "-o", "name")
    assert left.split() == ["configmap/kube-root-ca.crt", "serviceaccount/default"]
    assert await helm.shown("crd", "{.items[*].metadata.name}") == "orders.shop.example.com"


async def test_helm_takes_no_field_of_others_by_itself(helm: Helm):
    await helm("install", RELEASE, str(CHART))
    await helm.kubectl("scale", "deploy/shop", "--replicas=3")
    refused = await helm.run("upgrade", RELEASE, str(CHART), "--set=replicas=2")
    assert refused.code == 1
    assert "conflict" in refused.err and ".spec.replicas" in refused.err
    await helm("upgrade", RELEASE, str(CHART), "--set=replicas=2", "--force-conflicts")
    assert await helm.shown("deploy/shop", "{.spec.replicas}") == "2"
