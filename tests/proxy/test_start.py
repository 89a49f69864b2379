"""What the proxy's process is made of when it begins."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ebpf"])
def test_it_starts_without_the_models_of_the_api(mode: str) -> None:
    """They would take a third of the time until the first Service is served."""
    program = (
        "import sys; from lab.main import load; load('proxy')\n"
        "from proxy.backends.base import missing\n"
        f"missing({mode!r})\n"
        "slow = {'pydantic', 'control.api.meta', 'rich', 'pyroute2'}\n"
        "print(*sorted(slow & sys.modules.keys()))"
    )
    run = [sys.executable, "-P", "-c", program]
    found = subprocess.run(run, check=True, capture_output=True, text=True)
    assert found.stdout == "\n"
