"""The parts that a backend needs on a machine: those that are missing are named with a remedy."""

import pytest

from proxy.backends.base import BACKENDS, missing, show_command
from proxy.backends.ebpf import backend, packets
from proxy.backends.iptables import tool


@pytest.mark.parametrize("mode", BACKENDS)
def test_a_machine_that_runs_these_tests_has_everything(mode):
    assert missing(mode) == []


def test_iptables_needs_its_commands(monkeypatch):
    monkeypatch.setattr(tool.shutil, "which", lambda _: None)
    (text,) = missing("iptables")
    assert text.endswith("; install iptables")


@pytest.mark.parametrize("mode", ["nftables", "ebpf"])
def test_nftables_rules_need_its_library(monkeypatch, mode):
    monkeypatch.setattr("proxy.linux.libnftables.NAME", "libabsent.so.1")
    (text,) = missing(mode)
    assert text.endswith("; install libnftables1")


def test_ebpf_needs_its_programs(monkeypatch, tmp_path):
    monkeypatch.setattr(packets, "OBJECT", tmp_path / "packets.bpf.o")
    (text,) = missing("ebpf")
    assert text.startswith(f"{tmp_path}/packets.bpf.o is not built; ")


def test_ebpf_needs_libbpf(monkeypatch):
    monkeypatch.setattr("proxy.backends.ebpf.libbpf.NAME", "libabsent.so.1")
    (text,) = missing("ebpf")
    assert text.endswith("; install libbpf1")


def test_ebpf_needs_its_file_systems(monkeypatch):
    monkeypatch.setattr(backend, "known_file_systems", lambda: frozenset({"bpf", "ext4"}))
    (text,) = missing("ebpf")
    assert "no cgroup2" in text


def test_rules_of_ebpf_are_shown_as_those_of_nftables():
    assert show_command("ebpf") == show_command("nftables") == "nft list table ip podwire-proxy"
