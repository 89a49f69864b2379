"""The pure parts of the CRI runtime: messages, what is seen, endpoints, exit codes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.runtime.base import (
    ContainerRuntimeError,
    Phase,
    PodRef,
    PortMapping,
    Resources,
    Rights,
    Sandbox,
    SandboxConfig,
)
from control.runtime.cri import render, streams, view
from control.runtime.cri.cache import Seen
from control.runtime.cri.endpoint import EndpointError, socket_path
from control.runtime.cri.v1 import api_pb2 as pb
from tests.support.control.containers import config

POD = PodRef("default", "web", "uid-1")
BOX = Sandbox("a", POD, 0, True, 0.0)


@pytest.mark.parametrize("text", ["unix:///run/x.sock", "/run/x.sock"])
def test_an_endpoint(text):
    assert str(socket_path(text)) == "/run/x.sock"


@pytest.mark.parametrize("text", ["", "unix://run/x.sock", "tcp://127.0.0.1:1", "x.sock", "/x\0y"])
def test_what_is_no_endpoint(text):
    with pytest.raises(EndpointError, match="want unix:///PATH"):
        socket_path(text)


def test_a_sandbox_has_kubelets_labels_and_namespaces():
    made = render.sandbox(
        SandboxConfig(
            POD,
            2,
            "h" * 70,
            "/var/log/pods/x",
            resolv_conf="nameserver 10.96.0.10\nsearch a b\noptions ndots:5 edns0\n",
            share_processes=True,
            ports=(PortMapping(8080, 80, "UDP", "192.0.2.1"),),
            egress_rate=1000,
        ),
        "/podwire/pods/uid-1",
    )
    assert dict(made.labels) == {
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "uid-1",
    }
    assert dict(made.annotations) == {"kubernetes.io/egress-bandwidth": "1000"}
    assert len(made.hostname) == 63
    assert list(made.dns_config.servers) == ["10.96.0.10"]
    assert list(made.dns_config.searches) == ["a", "b"]
    assert list(made.dns_config.options) == ["ndots:5", "edns0"]
    assert made.linux.security_context.namespace_options.pid == pb.POD
    assert made.port_mappings[0].protocol == pb.UDP


@pytest.mark.parametrize(
    ("limits", "quota", "shares"),
    [
        (Resources(), 0, 2),
        (Resources(cpu_request=100, cpu_limit=500), 50_000, 102),
        (Resources(cpu_request=10**9, cpu_limit=1), 1000, 262_144),
    ],
)
def test_cpu_in_the_kernels_units(limits, quota, shares):
    made = render.resources(limits)
    assert (made.cpu_quota, made.cpu_shares) == (quota, shares)
    assert made.cpu_period == (100_000 if quota else 0)


def rendered(rights: Rights, image: pb.Image, target: str = "") -> pb.LinuxContainerSecurityContext:
    shared = render.sandbox(SandboxConfig(POD, 0, "web", "/logs"), "/p")
    made = render.container(
        config("x", rights=rights), shared, image, mounts=(), target=target, seccomp_root="/s"
    )
    return made.linux.security_context


def test_a_group_alone_gets_the_images_user():
    numbered = pb.Image(id="x", uid=pb.Int64Value(value=5))
    assert rendered(Rights(group=7), numbered).run_as_user.value == 5
    assert rendered(Rights(group=7), pb.Image(id="x", username="web")).run_as_username == "web"
    nobody = rendered(Rights(group=7), pb.Image(id="x"))
    assert nobody.HasField("run_as_user") and nobody.run_as_user.value == 0


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (pb.Image(id="x"), "will run as root"),
        (pb.Image(id="x", uid=pb.Int64Value(value=0)), "will run as root"),
        (pb.Image(id="x", username="web"), r"non-numeric user \(web\)"),
    ],
)
def test_a_user_that_may_be_root(image, why):
    with pytest.raises(ContainerRuntimeError, match=why):
        rendered(Rights(non_root=True), image)


def test_paths_are_masked_unless_privileged():
    assert "/proc/kcore" in rendered(Rights(), pb.Image(id="x")).masked_paths
    privileged = rendered(Rights(privileged=True, seccomp="runtime/default"), pb.Image(id="x"))
    assert not privileged.masked_paths and not privileged.readonly_paths
    assert privileged.seccomp.profile_type == pb.SecurityProfile.Unconfined


def test_a_profile_of_the_node_and_a_target():
    made = rendered(Rights(seccomp="localhost/a.json"), pb.Image(id="x"), "abc")
    assert made.seccomp.localhost_ref == "/s/a.json"
    assert (made.namespace_options.pid, made.namespace_options.target_id) == (pb.TARGET, "abc")


def test_who_has_no_uid_is_not_ours():
    assert view.sandbox(pb.PodSandboxStatus(id="x"), None) is None
    assert view.container(pb.ContainerStatus(id="x"), "y", "", None) is None


def test_a_container_that_the_runtime_has_lost():
    status = pb.ContainerStatus(id="x", state=pb.CONTAINER_UNKNOWN)
    status.labels[render.POD_UID] = "uid-1"
    found = view.container(status, "y", "image", None)
    assert found is not None
    assert (found.phase, found.exit_code) == (Phase.EXITED, 137)
    assert found.reason == "ContainerStatusUnknown"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b'{"status": "Success"}', 0),
        (
            b'{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": '
            b'[{"reason": "ExitCode", "message": "137"}]}}',
            137,
        ),
    ],
)
def test_exit_codes(status, code):
    assert streams.exit_code(status) == code


@pytest.mark.parametrize("status", [b"", b"[]", b'{"status": "Failure"}', b'{"status":1}', b"null"])
def test_a_status_without_an_exit_code(status):
    with pytest.raises(ContainerRuntimeError):
        streams.exit_code(status)


def test_an_older_list_does_not_undo_a_call():
    seen: Seen[Sandbox] = Seen()
    mark = seen.mark()
    seen.put(BOX)
    assert seen.merge([], {}, mark) == set()
    assert seen.items() == (BOX,)
    mark = seen.mark()
    seen.drop("a")
    assert seen.merge(["a"], {"a": BOX}, mark) == set()
    assert seen.items() == ()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.sets(st.sampled_from("abc")))
def test_a_list_without_calls_meanwhile_is_what_is_seen(calls, present):
    seen: Seen[Sandbox] = Seen()
    for item_id, put in calls:
        if put:
            seen.put(replace(BOX, id=item_id))
        else:
            seen.drop(item_id)
    before = {item.id for item in seen.items()}
    listed = {item_id: replace(BOX, id=item_id) for item_id in present}
    changed = seen.merge(listed, listed, seen.mark())
    assert {item.id for item in seen.items()} == present
    assert changed == ({POD} if before != present else set())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("", pb.PROPAGATION_PRIVATE),
        ("HostToContainer", pb.PROPAGATION_HOST_TO_CONTAINER),
        ("Bidirectional", pb.PROPAGATION_BIDIRECTIONAL),
    ],
)
def test_mounts_propagate_as_asked(name, wanted):
    assert render.mount("/a", "/b", propagation=name).propagation == wanted
