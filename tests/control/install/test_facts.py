"""What preflight sees of a machine."""

import gzip
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from control.install import facts
from control.install.layout import Layout
from control.install.preflight import KERNEL


@pytest.mark.parametrize("both", [True, False], ids=["two families", "without IPv6"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_is_in_use(both: bool, host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: both)
    with socket.create_server((host, 0)) as held:
        port = held.getsockname()[1]
        assert [number for number, _ in facts._used([port])] == [port]
    assert list(facts._used([port])) == []


def test_addresses_are_those_of_this_side():
    """In a network of its own: a link of point to point has its peer's address too."""
    script = f"""
        ip link set lo up
        ip link add link0 type veth peer name link1
        ip address add 192.0.2.1 peer 192.0.2.9/32 dev link0
        ip -6 address add 2001:db8::1/64 dev link0
        {sys.executable} -c 'from control.install import facts; print(*facts._addresses())'
    """
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["192.0.2.1", "2001:db8::1"]


CONFIG = "".join(f"CONFIG_{name}=m\n" for name in KERNEL if name != "VETH")


@pytest.mark.parametrize("packed", [True, False])
def test_a_kernel_says_what_it_was_built_without(tmp_path: Path, packed: bool):
    text = f"# CONFIG_VETH is not set\n{CONFIG}"
    folder = tmp_path / ("proc" if packed else "boot")
    folder.mkdir()
    if packed:
        (folder / "config.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (folder / "config-6.1").write_text(text)
    assert list(facts._lacking(tmp_path, "6.1")) == ["VETH"]


def test_a_kernel_that_shows_nothing_lacks_nothing(tmp_path: Path):
    assert list(facts._lacking(tmp_path, "6.1")) == []


def test_swap_is_seen():
    head = "Filename\tType\tSize\tUsed\tPriority\n"
    assert list(facts._swaps(head)) == []
    assert list(facts._swaps(f"{head}/dev/sda2  partition 1 0 -2\n")) == ["/dev/sda2"]


@pytest.mark.parametrize(
    ("name", "seen"),
    [("05-other.conflist", True), ("10-podwire.conflist", False), ("05-x.txt", False)],
)
def test_a_plugin_that_a_runtime_takes_first_is_seen(tmp_path: Path, name: str, seen: bool):
    (tmp_path / name).touch()
    assert bool(list(facts._networks(tmp_path))) == seen


def test_another_proxy_is_seen(tmp_path: Path):
    other = tmp_path / "kube-proxy"
    shutil.copy("/bin/sleep", other)
    with subprocess.Popen([other, "60"]) as process:
        try:
            while Path(f"/proc/{process.pid}/comm").read_text() != "kube-proxy\n":
                time.sleep(0.01)  # Popen returns a moment before the kernel has its name
            assert f"process {process.pid}, kube-proxy" in facts._proxies()
        finally:
            process.kill()


def test_what_kubeadm_left_is_seen(tmp_path: Path):
    manifests = tmp_path / "etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    assert list(facts._others(Layout(tmp_path))) == [], "an empty folder is nobody's"
    (manifests / "etcd.yaml").touch()
    assert list(facts._others(Layout(tmp_path))) == [str(manifests)]


def test_a_folder_that_only_its_owner_may_enter_is_seen(tmp_path: Path):
    closed = Path(tempfile.mkdtemp(dir=tmp_path))  # with mode 0700
    open_to_all = {path for path in tmp_path.parents if path.stat().st_mode & 0o001}
    first = next((path for path in reversed(tmp_path.parents) if path not in open_to_all), None)
    expected = first or (tmp_path if not tmp_path.stat().st_mode & 0o001 else closed)
    assert facts._hidden(closed / "python") == str(expected)
    assert facts._hidden(Path("/usr/bin/env")) == ""


def test_a_runtime_that_is_off_is_seen(tmp_path: Path):
    path = tmp_path / "containerd.sock"
    assert "No such file" in facts._unanswered(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        assert "refused" in facts._unanswered(f"unix://{path}")
        made.listen()
        assert facts._unanswered(f"unix://{path}") == ""
