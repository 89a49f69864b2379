"""A user's mistakes get upstream's answers, and change nothing."""

import json

import pytest

from tests.support.e2e.harness import run

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  EXTRA
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: LABEL}}
    spec: {containers: [{name: c, image: IMAGE}]}
"""


def deployment(name="d", extra="replicas: 0", label="a", image="podwire/tools"):
    text = DEPLOYMENT.replace("NAME", name).replace("EXTRA", extra)
    return text.replace("LABEL", label).replace("IMAGE", image)


# A YAML document that begins with "{" is JSON to kubectl before 1.33.
MISTAKES = {
    "labels do not match": (
        deployment(label="b"),
        'The Deployment "d" is invalid: spec.template.metadata.labels: Invalid value: '
        '{"app":"b"}: `selector` does not match template `labels`',
    ),
    "an unknown field": (deployment(extra="replcas: 1"), 'unknown field "spec.replcas"'),
    "a field twice": (deployment(extra="replicas: 1\n  paused: a"), "paused"),
    "a negative number": (
        deployment(extra="replicas: -1"),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    "no image": (deployment(image='""'), "spec.template.spec.containers[0].image: Required value"),
    "a bad name": (deployment(name="Web_1"), "metadata.name: Invalid value"),
    "a port out of range": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 99999}]}",
        "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
    ),
    "a missing namespace": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: nowhere}",
        'namespaces "nowhere" not found',
    ),
    "a kind that is not there": (
        "apiVersion: v1\nkind: Nonsense\nmetadata: {name: c}",
        'no matches for kind "Nonsense" in version "v1"',
    ),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_malformed_manifest_is_explained(lab, mistake):
    manifest, says = MISTAKES[mistake]
    done = run(*lab.kubectl_argv("apply", "-f", "-"), input=manifest)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert lab.get("deployments")["items"] == []


def test_an_unknown_field_gives_a_warning_on_request(lab):
    manifest = deployment(name="warned", extra="replicas: 0\n  nonsense: 1")
    done = run(*lab.kubectl_argv("apply", "--validate=warn", "-f", "-"), input=manifest)
    assert done.returncode == 0
    assert 'Warning: unknown field "spec.nonsense"' in done.stderr
    lab.kubectl("delete", "deployment", "warned")


def test_an_update_of_an_old_version_conflicts(lab):
    lab.kubectl("create", "configmap", "shared", "--from-literal=a=1")
    old = lab.get("configmap", "shared")
    lab.kubectl("patch", "configmap", "shared", "-p", '{"data":{"b":"2"}}')
    old["data"]["a"] = "9"
    done = run(*lab.kubectl_argv("replace", "-f", "-"), input=json.dumps(old))
    assert done.returncode == 1
    assert "(Conflict)" in done.stderr
    assert "the object has been modified" in done.stderr
    assert lab.get("configmap", "shared")["data"] == {"a": "1", "b": "2"}


def test_an_absent_object_is_not_found(lab):
    done = run(*lab.kubectl_argv("get", "pod", "nobody"))
    assert done.stderr == 'Error from server (NotFound): pods "nobody" not found\n'


def test_an_unknown_client_is_refused(lab):
    server = lab.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    argv = ["kubectl", "--kubeconfig=/dev/null", f"--server={server}", "--insecure-skip-tls-verify"]
    done = run(*argv, "--token=nonsense", "get", "nodes")
    assert done.returncode == 1
    assert "You must be logged in to the server" in done.stderr
