"""The schemas as read by every kubectl version on this machine."""

from pathlib import Path

import pytest

from control.api.kinds import DEPLOYMENT, KINDS, POD, SERVICE
from tests.support.control.kubectls import KUBECTLS, at_version

EXAMPLES = Path(__file__).parents[4] / "examples"

RICH = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: rich}
spec:
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%}}
  selector: {matchLabels: {app: rich}}
  template:
    metadata: {labels: {app: rich}}
    spec:
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 10
            podAffinityTerm:
              {topologyKey: zone, labelSelector: {matchLabels: {app: rich}}}
      securityContext: {seLinuxOptions: {level: s0}, sysctls: [{name: a.b, value: "10"}]}
      dnsConfig: {options: [{name: ndots, value: "10"}]}
      containers:
      - name: c
        image: podwire/tools
        env: [{name: A, value: "10"}, {name: B, value: "10"}]
        resources: {limits: {memory: 10Mi}}
        ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]
        volumeMounts: [{name: p, mountPath: /p}]
      volumes:
      - {name: p, projected: {sources: [{configMap: {name: a, items: [{key: k, path: "10"}]}}]}}
      - {name: csi, csi: {driver: d, volumeAttributes: {a: "10"}}}
      - name: e
        ephemeral:
          volumeClaimTemplate:
            spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
"""


@pytest.mark.parametrize("program", KUBECTLS, ids=lambda path: path.name)
async def test_every_kubectl_applies_and_explains_without_a_warning(secured, program):
    kubectl = at_version(secured, program)
    rich = secured.folder / "rich.yaml"
    rich.write_text(RICH)
    files = ("-f", str(rich), "-f", str(EXAMPLES / "web.yaml"))
    assert (await kubectl("create", "--validate=strict", "--dry-run=server", *files)).count(
        "created (server dry run)"
    ) == 4
    assert (await kubectl("apply", *files)).count("created") == 4
    assert (await kubectl("apply", *files)).count("unchanged") == 4
    assert await kubectl("diff", *files) == ""
    rich.write_text(RICH.replace("10", "11"))
    differs = await kubectl.try_("diff", *files)
    assert (differs.code, differs.err, "memory: 11Mi" in differs.out) == (1, "", True)
    assert "deployment.apps/rich configured" in await kubectl("apply", *files)
    assert await kubectl("diff", *files) == ""
    assert await kubectl("scale", "deploy/web", "--replicas=2") == "deployment.apps/web scaled\n"
    text = await kubectl("explain", "deployment.spec.template.spec.containers")
    assert "<[]Container>" in text
    assert "<no description>" not in text
    assert "readinessProbe\t<Probe>" in await kubectl("explain", "pod", "--recursive")


@pytest.mark.parametrize("program", KUBECTLS, ids=lambda path: path.name)
async def test_every_kubectl_leaves_validation_to_the_server(secured, program):
    kubectl = at_version(secured, program)
    wrong = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}, "dta": {}}'
    refused = await kubectl.try_("create", "-f", "-", stdin=wrong)
    assert refused.code == 1
    assert 'strict decoding error: unknown field "dta"' in refused.err
    warned = await kubectl.try_("create", "--validate=warn", "-f", "-", stdin=wrong)
    assert (warned.code, warned.err) == (0, 'Warning: unknown field "dta"\n')


async def test_every_kind_is_explained(kubectl):
    for kind in (DEPLOYMENT, POD, SERVICE):
        text = await kubectl("explain", kind.plural, "--output", "plaintext-openapiv2")
        assert (f"KIND:     {kind.name}\n" in text, "<no description>" in text) == (True, False)
    for kind in KINDS:
        text = await kubectl("explain", f"{kind.plural}.{kind.group}".rstrip("."))
        assert f"KIND:       {kind.name}\n" in text  # upstream leaves some fields undescribed
