"""What a snapshot does not take along: a CNI file may hold tokens and passwords of its IPAM."""

import json
from pathlib import Path

import msgspec
import pytest

from debug.machine import files
from debug.machine.read import _decisive
from debug.machine.values import CniNetwork


def written(root: Path, content: object) -> CniNetwork | None:
    folder = root / "etc/cni/net.d"
    folder.mkdir(parents=True)
    (folder / "10-net.conflist").write_text(json.dumps(content))
    return files.network(root)


def test_of_a_cni_file_only_what_decides_is_kept(tmp_path: Path) -> None:
    ipam = {"ranges": [[{"subnet": "10.1.0.0/24"}]], "etcd_password": "hunter2"}
    plugin = {"mtu": 1450, "ipam": ipam, "policy": {"k8s_auth_token": "hunter2"}}
    found = written(tmp_path, {"name": "net", "plugins": [plugin, {"key": "hunter2"}]})
    assert found == CniNetwork("/etc/cni/net.d/10-net.conflist", "net", 1450, ("10.1.0.0/24",))
    assert b"hunter2" not in msgspec.json.encode(found)


@pytest.mark.parametrize(
    "plugin",
    [3, {"mtu": "x", "ipam": "x"}, {"ipam": {"ranges": [[{"subnet": "x/y"}]]}}, {"ipam": []}],
)
def test_a_file_of_another_shape_tells_nothing(tmp_path: Path, plugin: object) -> None:
    found = written(tmp_path, {"name": "net", "plugins": [plugin]})
    assert found and (found.mtu, found.subnets) == (0, ())


def test_of_a_proxys_settings_only_what_decides_is_kept() -> None:
    told = {"clusterCIDR": "10.1.0.0/16", "conntrack": 3, "clientConnection": {"token": "hunter2"}}
    assert _decisive(told) == {"clusterCIDR": "10.1.0.0/16"}
    assert _decisive(["x"]) == {}
