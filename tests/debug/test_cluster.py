"""The names of addresses, and a snapshot's way into a file and back."""

from pathlib import Path

import msgspec
import pytest

from debug.cluster import ClusterState, Names
from debug.kernel.values import Link, SpaceState
from debug.snapshot import Snapshot, SnapshotError, SpaceSnapshot, load, save
from proxy.objects.wire import Node, Service
from proxy.policy.wire import Pod


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
    ],
)
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=why):
        load(path)
