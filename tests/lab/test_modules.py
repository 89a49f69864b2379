"""br_netfilter is loaded for the lab, without effect on the host's own bridges."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import modules

KNOB = "bridge-nf-call-iptables"


@pytest.fixture
def knobs(tmp_path, monkeypatch):
    """A kernel without the module; the test says what ``modprobe`` does."""
    folder = tmp_path / "bridge"
    monkeypatch.setattr(modules, "_KNOBS", folder)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "modprobe").write_text(
        f'#!/bin/sh\n[ "$*" = br_netfilter ] && mkdir {folder} && cd {folder} &&\n'
        f"for name in iptables ip6tables arptables; do echo 1 > bridge-nf-call-$name; done\n"
    )
    (tmp_path / "modprobe").chmod(0o755)
    return folder


def test_this_namespace_goes_on_without_the_filter(knobs):
    assert not modules.is_bridge_filter_loaded()
    modules.load_bridge_filter()
    assert modules.is_bridge_filter_loaded()
    assert {path.name: path.read_text() for path in knobs.iterdir()} == {
        "bridge-nf-call-iptables": "0",
        "bridge-nf-call-ip6tables": "0",
        "bridge-nf-call-arptables": "0",
    }


def test_namespaces_made_later_begin_with_the_filter():
    if not modules.is_bridge_filter_loaded():
        modules.load_bridge_filter()
        assert Path(f"/proc/sys/net/bridge/{KNOB}").read_text() == "0\n"
    later = ["unshare", "--net", "cat", f"/proc/sys/net/bridge/{KNOB}"]
    assert subprocess.run(later, capture_output=True, check=True).stdout == b"1\n"


def test_a_lab_turns_it_off_in_its_machines():
    if not modules.is_bridge_filter_loaded():
        modules.load_bridge_filter()
    script = (
        "from pathlib import Path; from lab import modules; modules.let_bridges_be(); "
        f"print(Path('/proc/sys/net/bridge/{KNOB}').read_text(), end='')"
    )
    machine = ["unshare", "--net", sys.executable, "-c", script]
    assert subprocess.run(machine, capture_output=True, check=True).stdout == b"0\n"


def test_a_kernel_without_it_is_said_in_modprobes_words(knobs):
    words = "modprobe: FATAL: Module br_netfilter not found in directory /lib/modules/6.1"
    (knobs.parent / "modprobe").write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    with pytest.raises(modules.ModuleMissingError, match=words):
        modules.load_bridge_filter()


def test_a_machine_without_modprobe_is_told_the_package(knobs, monkeypatch):
    monkeypatch.setenv("PATH", str(knobs))
    with pytest.raises(modules.ModuleMissingError, match="install kmod"):
        modules.load_bridge_filter()
