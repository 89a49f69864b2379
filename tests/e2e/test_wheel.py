"""The wheel on a bare Debian without a compiler: labs in every proxy mode, and the CNI plugin."""

import subprocess

import pytest

from tests.support.e2e.harness import CHECKOUT


@pytest.mark.timeout(1200)  # a machine that has no Debian root yet makes one
def test_the_wheel_is_whole() -> None:
    done = subprocess.run(
        [CHECKOUT / "bin/test-bare", "--wheel"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.count("300 requests from node1") == 3, "iptables, nftables, ebpf"
