"""The file of a static Pod: what kubelet makes of it, and what it refuses."""

import pytest

from control.agent.pods.static import is_mirror_of
from control.agent.static.manifest import ManifestError, parse
from control.agent.static.mirrors import mirror_of
from control.api.node import Node
from tests.support.control.static_pods import POD


def of(text=POD, file="/m/web.yaml", node="n1"):
    return parse(text.encode(), file, node, 1.5)


def with_spec(text):
    return f"{POD}  {text}\n"


def test_a_pod_of_a_file_is_the_nodes():
    pod = of()
    meta, spec = pod.metadata, pod.spec
    assert (meta.namespace, meta.name, spec.node_name) == ("default", "web-n1", "n1")
    assert meta.annotations == {
        "a": "b",
        "kubernetes.io/config.hash": meta.uid,
        "kubernetes.io/config.seen": "1970-01-01T00:00:01.500000Z",
        "kubernetes.io/config.source": "file",
    }
    assert [it.wire() for it in spec.tolerations] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert pod.status.phase == "Pending"
    (container,) = spec.containers
    assert container.image_pull_policy == "IfNotPresent"  # a default
    assert container.resources.requests == {"memory": "1Gi"}


def test_the_uid_is_that_of_content_file_and_node():
    uids = [
        of().uid,
        of(POD.replace("app:1", "app:2")).uid,
        of(file="/m/other.yaml").uid,
        of(node="n2").uid,
        of(POD.replace("  name: web", "  name: web\n  uid: mine")).uid,
    ]
    assert len({*uids}) == 5
    assert uids[-1] == "mine"
    assert of(f"# a comment\n{POD}").uid == uids[0]
    assert len(uids[0]) == 32


def test_json_and_other_namespaces():
    text = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"kube-system"},'
    pod = of(text + '"spec":{"containers":[{"name":"c","image":"i"}]}}')
    assert pod.key == ("kube-system", "a-n1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no object of apiVersion v1 and kind Pod"),
        ("a: [", "it is no YAML"),
        ("\x00", "it is no YAML"),
        ("a: &x 1\nb: *x", "an alias"),
        ("[" * 100, "nested over 60 levels"),
        ("#" * ((1 << 20) + 1), "it has over 1 MiB"),
        (POD.replace("kind: Pod", "kind: Service"), "it is no object of apiVersion v1 and kind"),
        (POD.replace("  name: web\n", ""), "invalid pod: name is needed for the pod"),
        (POD.replace("image: app:1", "image: [1]"), "invalid pod: "),
        (
            POD.replace("  name: web\n", "  name: web\n  uid: ../../x\n"),
            "invalid pod: metadata.uid",
        ),
        (POD.replace("  name: web\n", f"  name: web\n  uid: {'a' * 64}\n"), "metadata.uid"),
        (POD.replace("name: main", "name: M"), "spec.containers[0].name: Invalid value"),
        (with_spec("serviceAccountName: a"), "static pods may not reference serviceaccounts"),
        (with_spec("imagePullSecrets: [{name: a}]"), "static pods may not reference secrets"),
        (
            POD.replace("image: app:1", "image: a\n    envFrom: [{configMapRef: {name: a}}]"),
            "static pods may not reference configmaps",
        ),
        (
            with_spec("volumes: [{name: v, secret: {secretName: s}}]"),
            "static pods may not reference secrets (via secret volumes)",
        ),
        (
            with_spec("volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]"),
            "static pods may not reference persistentvolumeclaims",
        ),
        (
            with_spec("volumes: [{name: v, projected: {sources: [{configMap: {name: c}}]}}]"),
            "static pods may not reference configmaps (via projected volumes)",
        ),
    ],
)
def test_what_is_refused(text, why):
    with pytest.raises(ManifestError) as caught:
        of(text)
    assert why in str(caught.value)


def test_a_mirror_shows_one_version():
    pod = of()
    node = Node.parse({"metadata": {"name": "n1", "uid": "u1"}})
    mirror = mirror_of(pod, node)
    assert mirror.metadata.annotations["kubernetes.io/config.mirror"] == pod.uid
    assert mirror.metadata.uid == ""  # the API server gives it one of its own
    (owner,) = mirror.metadata.owner_references
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Node", "n1", "u1", True)
    assert is_mirror_of(mirror, pod)
    assert not is_mirror_of(mirror, of(POD.replace("app:1", "app:2")))
    assert mirror.spec == pod.spec
