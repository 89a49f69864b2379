"""The inputs of a container: variables, fields, files, privileges, image names."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.config import FlagError, image_collection, log_limits, taints
from control.agent.pods import payload, render
from control.agent.pods.environment import Sources, expand, references, variables
from control.agent.pods.fields import Host, PodReferenceError, field, resource
from control.agent.pods.payload import File
from control.agent.pods.quality import oom_score_adj, quality
from control.agent.pods.resolver import ClusterDns
from control.api.container import ResourceFieldRef
from control.api.quantity import parse
from control.api.service import Service
from control.runtime.images.names import (
    ImageNameError,
    default_policy,
    from_folder,
    normalize,
    to_folder,
)
from tests.support.control.pods import pod

HOST = Host("node1", ("172.31.0.11",), parse("4"), parse("9Gi"), allocatable_memory=parse("8Gi"))
IPS = ("10.244.0.5",)


def values(item, sources=None):
    return variables(item, item.spec.containers[0], sources or Sources(), HOST, IPS)


def service(name, namespace="default", address="10.96.0.9", *ports):
    ports = ports or ({"port": 80, "name": "web"},)
    return Service.parse(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": list(ports)},
        }
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
    ],
)
def test_expansion(text, shown):
    assert expand(text, {"A": "1"}) == shown


def test_variables_from_all_sources():
    sources = Sources(
        {("ConfigMap", "c"): {"K": b"v", "X": b"from-map"}, ("Secret", "s"): {"P": b"pw"}}
    )
    item = pod(
        container={
            "envFrom": [
                {"prefix": "C_", "configMapRef": {"name": "c"}},
                {"secretRef": {"name": "no", "optional": True}},
            ],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)$(C_K)"},
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "P"}}},
                {
                    "name": "O",
                    "valueFrom": {"configMapKeyRef": {"name": "c", "key": "no", "optional": True}},
                },
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
        }
    )
    assert values(item, sources) == {
        "C_K": "v",
        "C_X": "from-map",
        "A": "1",
        "B": "1v",
        "P": "pw",
        "IP": "10.244.0.5",
        "CPU": "4",
    }
    assert references(item) == {("ConfigMap", "c"), ("Secret", "s"), ("Secret", "no")}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"configMapKeyRef": {"name": "c", "key": "k"}}, 'configmap "c" not found'),
        ({"secretKeyRef": {"name": "s", "key": "k"}}, "couldn't find key k in Secret default/s"),
        ({"fieldRef": {"fieldPath": "spec.nope"}}, "unsupported fieldPath"),
        ({"resourceFieldRef": {"resource": "limits.gpu"}}, "unsupported container resource"),
    ],
)
def test_references_to_absent_objects_are_named(source, text):
    item = pod(container={"env": [{"name": "A", "valueFrom": source}]})
    with pytest.raises(PodReferenceError, match=text):
        values(item, Sources({("Secret", "s"): {}}))


def test_service_variables():
    both = (
        service("my-db"),
        service("kubernetes", "default", "10.96.0.1"),
        service("x", "other"),
        service("none", "default", "None"),
    )
    found = values(pod(), Sources(services=both))
    assert found["MY_DB_SERVICE_HOST"] == "10.96.0.9"
    assert found["MY_DB_SERVICE_PORT_WEB"] == found["MY_DB_SERVICE_PORT"] == "80"
    assert found["MY_DB_PORT_80_TCP"] == found["MY_DB_PORT"] == "tcp://10.96.0.9:80"
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not [name for name in found if name.startswith(("X_", "NONE_"))]
    quiet = values(pod(enableServiceLinks=False), Sources(services=both))
    assert {name.split("_")[0] for name in quiet} == {"KUBERNETES"}


def test_service_variables_of_ipv6():
    found = values(pod(), Sources(services=(service("six", "default", "fd00::9"),)))
    assert found["SIX_PORT"] == "tcp://[fd00::9]:80"


def test_fields():
    item = pod(meta={"labels": {"b": 'q"', "a": "1"}, "annotations": {"x": "y"}})
    assert field(item, "metadata.labels['a']", HOST, ()) == "1"
    assert field(item, "metadata.labels['no']", HOST, ()) == ""
    assert field(item, "metadata.labels", HOST, ()) == 'a="1"\nb="q\\""'
    assert field(item, "spec.nodeName", HOST, ()) == "node1"


@pytest.mark.parametrize(
    ("name", "divisor", "shown"),
    [
        ("limits.memory", "1Mi", "128"),
        ("limits.memory", None, "134217728"),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", None, "1"),
        ("limits.cpu", "1", "4"),
    ],
)
def test_resources_are_rounded_up(name, divisor, shown):
    item = pod(
        container={"resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "250m"}}}
    )
    reference = ResourceFieldRef(resource=name, divisor=divisor)
    assert resource(item, "main", reference, HOST) == shown


def test_volumes_from_the_api():
    item = pod(
        volumes=[
            {
                "name": "c",
                "configMap": {
                    "name": "c",
                    "defaultMode": 256,
                    "items": [{"key": "k", "path": "dir/k", "mode": 511}],
                },
            },
            {
                "name": "p",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "c"}},
                        {"secret": {"name": "s"}},
                        {
                            "downwardAPI": {
                                "items": [
                                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}
                                ]
                            }
                        },
                        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
                    ]
                },
            },
        ]
    )
    sources = Sources({("ConfigMap", "c"): {"k": b"v"}, ("Secret", "s"): {"pw": b"x"}})
    first, second = item.spec.volumes
    assert payload.references(item) == {("ConfigMap", "c"), ("Secret", "s")}
    assert payload.payload(item, first, sources, HOST) == {"dir/k": File(b"v", 0o777)}
    (wanted,) = payload.tokens(item)
    found = payload.payload(item, second, sources, HOST, {wanted: "jwt"})
    assert {name: file.content for name, file in found.items()} == {
        "k": b"v",
        "pw": b"x",
        "name": b"web",
        "token": b"jwt",
    }


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "..data"])
def test_files_stay_in_their_volume(path):
    item = pod(
        volumes=[{"name": "c", "configMap": {"name": "c", "items": [{"key": "k", "path": path}]}}]
    )
    sources = Sources({("ConfigMap", "c"): {"k": b"v"}})
    with pytest.raises(PodReferenceError):
        payload.payload(item, item.spec.volumes[0], sources, HOST)


def test_quality_of_service():
    full = {"limits": {"cpu": "1", "memory": "1Gi"}}
    guaranteed, burstable = (
        pod(container={"resources": full}),
        pod(container={"resources": {"requests": {"memory": "4Gi"}}}),
    )
    assert [quality(it) for it in (guaranteed, burstable, pod())] == [
        "Guaranteed",
        "Burstable",
        "BestEffort",
    ]
    scores = [
        oom_score_adj(it, it.spec.containers[0], 8 * 1024**3)
        for it in (guaranteed, burstable, pod())
    ]
    assert scores == [-997, 500, 1000]


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("podwire/tools", "docker.io/podwire/tools:latest"),
        ("nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("localhost/x", "localhost/x:latest"),
        ("host:5000/a/b:c", "host:5000/a/b:c"),
        ("ghcr.io/x/y@sha256:" + "0" * 64, "ghcr.io/x/y@sha256:" + "0" * 64),
        ("x:1@sha256:" + "0" * 64, "docker.io/library/x@sha256:" + "0" * 64),
    ],
)
def test_image_names(short, full):
    assert normalize(short) == full == normalize(full)
    assert from_folder(to_folder(full)) == full and "/" not in to_folder(full)


@pytest.mark.parametrize(
    "bad", ["", "UPPER/x", "a//b", "../x", "x:", "x:a b", "x@sha256:1", "a\n", "-x"]
)
def test_invalid_image_names(bad):
    with pytest.raises(ImageNameError):
        normalize(bad)


@given(st.text(max_size=40))
def test_a_name_is_refused_or_safe_as_a_folder(text):
    try:
        full = normalize(text)
    except ImageNameError:
        return
    assert normalize(full) == full
    assert "/" not in to_folder(full) and to_folder(full) not in (".", "..")


def test_pull_policies():
    assert default_policy("x") == default_policy("x:latest") == "Always"
    assert default_policy("x:1") == default_policy("x@sha256:" + "0" * 64) == "IfNotPresent"


def test_a_container_as_the_runtime_gets_it():
    item = pod(
        container={
            "command": ["run", "$(A)"],
            "args": ["$(B)"],
            "env": [{"name": "A", "value": "1"}],
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
            "securityContext": {
                "runAsUser": 7,
                "allowPrivilegeEscalation": False,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            },
        },
        securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]},
    )
    config = render.container(
        item, item.spec.containers[0], 2, sources=Sources(), host=HOST, addresses=IPS, mounts=()
    )
    assert config.command == ("run", "1") and config.arguments == ("$(B)",)
    assert dict(config.environment) == {"HOSTNAME": "web", "A": "1"}
    assert (config.rights.user, config.rights.group, config.rights.groups) == (7, 2, (3, 4))
    assert config.rights.no_new_privileges and config.rights.drop_capabilities == ("ALL",)
    assert (config.resources.cpu_limit, config.resources.memory_limit) == (500, 64 * 1024**2)
    assert config.log_path == "main/2.log"


def test_the_names_of_a_host_alias_are_apart_by_tabs():
    """As kubelet's hostsEntriesFromHostAliases writes them."""
    alias = {"ip": "192.0.2.1", "hostnames": ["a.example", "b.example"]}
    config = render.sandbox(pod(hostAliases=[alias]), 0, ClusterDns(), "node1")
    assert config.hosts == "192.0.2.1\ta.example\tb.example\n"


@pytest.mark.parametrize(
    ("shared", "own", "default", "wanted"),
    [
        (None, None, False, ""),
        (None, None, True, "runtime/default"),
        ({"type": "Unconfined"}, None, True, ""),
        ({"type": "RuntimeDefault"}, None, False, "runtime/default"),
        ({"type": "RuntimeDefault"}, {"type": "Unconfined"}, False, ""),
        ({"type": "Unconfined"}, {"type": "RuntimeDefault"}, False, "runtime/default"),
        (None, {"type": "Localhost", "localhostProfile": "a/b.json"}, False, "localhost/a/b.json"),
    ],
)
def test_a_containers_seccomp_profile_goes_before_its_pods(shared, own, default, wanted):
    item = pod(
        securityContext={"seccompProfile": shared} if shared else {},
        container={"securityContext": {"seccompProfile": own} if own else {}},
    )
    host = replace(HOST, seccomp_default=default)
    config = render.container(
        item, item.spec.containers[0], 0, sources=Sources(), host=host, addresses=IPS, mounts=()
    )
    assert config.rights.seccomp == wanted


def test_a_pod_asks_for_the_addresses_that_it_had():
    had = {"podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00::5"}]}
    dns = render.ClusterDns()
    assert render.sandbox(pod("a", status=had), 1, dns, "node1").addresses == (
        "10.244.0.5",
        "fd00::5",
    )
    assert render.sandbox(pod("a"), 0, dns, "node1").addresses == ()
    shared = pod("a", status=had, hostNetwork=True)
    assert render.sandbox(shared, 1, dns, "node1").addresses == ()


def test_taints_to_register_with():
    assert taints("--t", "a=b:NoSchedule,c:NoExecute") == (
        ("a", "b", "NoSchedule"),
        ("c", "", "NoExecute"),
    )
    for bad in ("a", "a:", ":NoSchedule", "a=b:Sometimes"):
        with pytest.raises(FlagError, match="--t: "):
            taints("--t", bad)


@pytest.mark.parametrize(
    ("high", "runtime", "wanted"), [(None, "", 100), (None, "unix:///x", 85), (90, "", 90)]
)
def test_images_that_cannot_be_pulled_again_stay(high, runtime, wanted):
    assert image_collection(high, 80, runtime).high == wanted


def test_thresholds_and_limits_of_logs_are_checked():
    with pytest.raises(FlagError, match="--image-gc-low-threshold 90: want less than"):
        image_collection(90, 90, "")
    with pytest.raises(FlagError, match="--container-log-max-size ten: want bytes"):
        log_limits("ten", 2)
    assert log_limits("1Mi", 2).most_bytes == 1 << 20
