"""The disk space of Pods against their limits: whose counts for what."""

import pytest

from control.agent import storage
from control.agent.pods.quality import pod_amount
from control.api.pod import Pod
from control.linux.usage import disk_usage

MEBI = 1 << 20


def pod(containers, init=(), volumes=(), overhead=None):
    def written(name, limit, **more):
        limits = {"ephemeral-storage": limit} if limit else {}
        return {"name": name, "resources": {"limits": limits}, **more}

    return Pod.model_validate(
        {
            "metadata": {"name": "web"},
            "spec": {
                "containers": [written(*it) for it in containers],
                "initContainers": [written(it[0], it[1], **it[2]) for it in init],
                "volumes": list(volumes),
                "overhead": overhead or {},
            },
        }
    )


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("containers", "init", "overhead", "limit"),
    [
        ([("a", None)], [], None, None),
        ([("a", "1Mi"), ("b", None)], [], None, "1Mi"),
        ([("a", "1Mi")], [("i", "3Mi", {}), ("j", "2Mi", {})], None, "3Mi"),
        ([("a", None)], [("i", "3Mi", {})], None, "3Mi"),
        ([("a", "1Mi")], [("s", "2Mi", SIDECAR), ("i", "2Mi", {})], None, "4Mi"),
        ([("a", "5Mi")], [("s", "2Mi", SIDECAR)], {"ephemeral-storage": "1Mi"}, "8Mi"),
    ],
)
def test_a_pods_limit_is_upstreams_sum(containers, init, overhead, limit):
    found = pod_amount(pod(containers, init, overhead=overhead), "limits", "ephemeral-storage")
    assert (found and str(found)) == limit


def write(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def excess(tmp_path, item):
    names = [it.name for it in (*item.spec.containers, *item.spec.init_containers)]
    homes = {name: (tmp_path / name, tmp_path / f"logs-{name}") for name in names}
    return storage.excess(item, tmp_path / "volumes", homes)


def test_an_init_container_that_fills_the_disk_exceeds_the_pods_limit(tmp_path):
    item = pod([("main", None)], [("first", "1Mi", {})])
    assert storage.is_limited(item)
    write(tmp_path / "first/upper/x", MEBI // 2)
    assert excess(tmp_path, item) == ""
    write(tmp_path / "first/upper/y", MEBI)
    assert "exceeds the total limit of containers 1Mi" in excess(tmp_path, item)


def test_an_init_container_within_the_pods_limit_is_not_held_to_its_own(tmp_path):
    """kubelet's containerEphemeralStorageLimitEviction looks at spec.containers only."""
    item = pod([("main", "4Mi")], [("first", "1Mi", {})])
    write(tmp_path / "first/upper/x", 2 * MEBI)
    assert excess(tmp_path, item) == ""
    write(tmp_path / "main/upper/x", 3 * MEBI)
    assert "exceeds the total limit of containers 4Mi" in excess(tmp_path, item)


def test_a_copy_of_the_image_counts_less_the_image(tmp_path):
    item = pod([("main", "1Mi")])
    write(tmp_path / "main/copy/image", 5 * MEBI)
    (tmp_path / "main/copy.size").write_text(str(disk_usage(tmp_path / "main/copy")))
    assert excess(tmp_path, item) == ""
    write(tmp_path / "main/copy/x", 2 * MEBI)
    assert "exceeds the total limit of containers 1Mi" in excess(tmp_path, item)


def test_a_limit_of_zero_of_a_volume_is_none(tmp_path):
    item = pod([("main", None)], volumes=[{"name": "v", "emptyDir": {"sizeLimit": "0"}}])
    write(tmp_path / "volumes/v/x", MEBI)
    assert not storage.is_limited(item) and excess(tmp_path, item) == ""
