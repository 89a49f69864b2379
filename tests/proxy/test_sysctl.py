"""Kernel settings: written if they are needed, and not otherwise."""

from pathlib import Path

import pytest

from proxy.config import ConntrackSettings
from proxy.model.settings import ProxySettings
from proxy.model.values import Family
from proxy.sysctl import BE_LIBERAL, MAXIMUM, ROUTE_LOCALNET, prepare


@pytest.fixture
def root(tmp_path) -> Path:
    for name, value in ((ROUTE_LOCALNET, 0), (BE_LIBERAL, 0), (MAXIMUM, 65536)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    (tmp_path / "netfilter/nf_conntrack_udp_timeout").write_text("30\n")
    return tmp_path


def value(root: Path, name: str) -> int:
    return int((root / name).read_text())


def test_loopback_is_routed_only_for_node_ports_on_loopback(root):
    prepare(ProxySettings(localhost_node_ports=False), ConntrackSettings(), root)
    assert value(root, ROUTE_LOCALNET) == 0
    prepare(ProxySettings(), ConntrackSettings(), root)
    assert value(root, ROUTE_LOCALNET) == 1


def test_families_are_those_of_the_kernel(root):
    assert prepare(ProxySettings(), ConntrackSettings(), root).families == (Family.V4,)
    (root / "ipv6").mkdir()
    assert prepare(ProxySettings(), ConntrackSettings(), root).families == tuple(Family)


def test_the_kernels_setting_for_invalid_segments_is_read(root):
    assert not prepare(ProxySettings(), ConntrackSettings(), root).tcp_be_liberal
    assert prepare(ProxySettings(), ConntrackSettings(be_liberal=True), root).tcp_be_liberal


def test_the_maximum_is_raised_never_lowered(root):
    prepare(ProxySettings(), ConntrackSettings(max_per_core=1, least=1), root)
    assert value(root, MAXIMUM) == 65536
    prepare(ProxySettings(), ConntrackSettings(max_per_core=1, least=131072), root)
    assert value(root, MAXIMUM) == 131072
    prepare(ProxySettings(), ConntrackSettings(max_per_core=0, least=10**6), root)
    assert value(root, MAXIMUM) == 131072


def test_a_namespace_that_may_not_set_the_maximum_does_not_try(root, caplog):
    (root / MAXIMUM).chmod(0o444)
    prepare(ProxySettings(), ConntrackSettings(max_per_core=1, least=10**6), root)
    assert value(root, MAXIMUM) == 65536
    assert not caplog.text


def test_timeouts(root):
    prepare(ProxySettings(), ConntrackSettings(timeouts={"nf_conntrack_udp_timeout": 0}), root)
    assert value(root, "netfilter/nf_conntrack_udp_timeout") == 30
    prepare(ProxySettings(), ConntrackSettings(timeouts={"nf_conntrack_udp_timeout": 20}), root)
    assert value(root, "netfilter/nf_conntrack_udp_timeout") == 20


def test_a_failed_write_is_logged(root, caplog):
    (root / ROUTE_LOCALNET).unlink()
    (root / ROUTE_LOCALNET).mkdir()
    prepare(ProxySettings(), ConntrackSettings(), root)
    assert "NodePorts at 127.0.0.1 will not answer" in caplog.text
