"""The names of addresses, and a snapshot's way into a file and back."""

from pathlib import Path

import msgspec
import pytest

from debug.cluster import ClusterState, Names
from debug.doctor.examine import examine
from debug.kernel.values import Link, SpaceState
from debug.snapshot import Snapshot, SnapshotError, SpaceSnapshot, load, save
from proxy.objects.wire import Node, Service
from proxy.policy.wire import Pod
from tests.support.debug.healthy import endpoints, service, with_objects


def pod(name: str, ip: str, phase: str = "Running", **spec: object) -> Pod:
    return Pod.read(
        {
            "metadata": {"name": name, "namespace": "ns", "annotations": {"note": "password"}},
            "spec": spec,
            "status": {"phase": phase, "podIPs": [{"ip": ip}]},
        }
    )


STATE = ClusterState(
    pods=(
        pod("web", "10.244.1.2"),
        pod("old", "10.244.1.9", phase="Succeeded"),
        pod("agent", "172.31.0.11", hostNetwork=True),
    ),
    services=(
        Service.read(
            {
                "metadata": {"name": "web", "namespace": "ns"},
                "spec": {"clusterIPs": ["10.96.0.7", "fd00:0:0::7"], "clusterIP": "10.96.0.7"},
            }
        ),
    ),
    nodes=(
        Node.read(
            {
                "metadata": {"name": "node1"},
                "status": {"addresses": [{"type": "InternalIP", "address": "172.31.0.11"}]},
            }
        ),
    ),
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.244.1.2", "Pod ns/web"),
        ("10.244.1.9", ""),  # its Pod has ended
        ("172.31.0.11", "Node node1"),  # a Pod there has its node's address
        ("10.96.0.7", "Service ns/web"),
        ("fd00::7", "Service ns/web"),
        ("192.0.2.1", ""),
        ("none", ""),
    ],
)
def test_addresses_have_the_names_of_what_owns_them(address: str, name: str) -> None:
    assert Names(STATE).of(address) == name


def test_a_snapshot_comes_back_without_annotations(tmp_path: Path) -> None:
    space = SpaceSnapshot("node1", SpaceState(links=(Link(1, "lo", up=True),)), ("ns", "web"))
    taken = Snapshot("2026-01-01T00:00:00+00:00", STATE, (space,), unread=("Node node2: gone",))
    path = tmp_path / "taken.json"
    save(taken, path)
    assert "password" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    found = load(path)
    assert found.spaces == taken.spaces and found.unread == taken.unread
    assert found.cluster and Names(found.cluster).of("10.244.1.2") == "Pod ns/web"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "is no snapshot"),
        (b"[" * 100_000, "is no snapshot"),
        (b'{"taken":"x","spaces":3}', "spaces"),
        (msgspec.json.encode({"taken": "x", "version": 99}), "has version 99"),
        *(
            (
                msgspec.json.encode({"taken": "x", "machines": [{"node": "n", "nft": nft}]}),
                "n's rules",
            )
            for nft in ("x", "[]", '{"nftables":[3]}', '{"nftables":[{"rule":{}}]}')
        ),
    ],
)
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=why):
        load(path)


class Counted(tuple):
    """Objects that know how often somebody went through all of them."""

    times = 0

    def __iter__(self):
        Counted.times += 1
        return super().__iter__()


def test_ten_thousand_services_are_not_gone_through_for_each_of_them() -> None:
    """With each Service's slices and Pods looked up among all, doctor took minutes."""
    services = [service(f"s{number}", selector={"app": f"s{number}"}) for number in range(40)]
    slices = [endpoints(of=f"s{number}") for number in range(40)]
    pods = [pod(f"p{number}", f"10.244.1.{number}") for number in range(40)]
    parts = {"services": services, "slices": slices, "pods": pods}
    examine(with_objects(**{name: Counted(many) for name, many in parts.items()}))
    assert 0 < Counted.times < 40


def test_pods_are_selected_by_all_labels_and_by_none_if_there_is_none() -> None:
    pods = [
        Pod.read({"metadata": {"name": name, "namespace": space, "labels": labels}})
        for name, space, labels in (
            ("a", "ns", {"app": "web", "tier": "x"}),
            ("b", "ns", {"app": "web"}),
            ("c", "other", {"app": "web", "tier": "x"}),
        )
    ]
    state = ClusterState(pods=tuple(pods))
    assert [one.key[1] for one in state.selected("ns", {"app": "web"})] == ["a", "b"]
    assert [one.key[1] for one in state.selected("ns", {"tier": "x", "app": "web"})] == ["a"]
    assert state.selected("ns", {}) == state.selected("ns", {"app": "db"}) == []
