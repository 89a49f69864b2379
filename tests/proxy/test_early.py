"""What the proxy begins before it has imported the rest."""

import subprocess
import sys

import pytest

from proxy import early
from proxy.config import from_flags
from tests.support.proxy.strategies import SETTINGS

_FLAGS = ("--kubeconfig=/x", "--proxy-mode=nftables")


class Loading:
    """A backend that notes whether it was told to begin."""

    def __init__(self) -> None:
        self.has_begun = False

    def load_early(self) -> None:
        self.has_begun = True


def config(*flags: str):
    from proxy.cli import main

    with main.make_context("proxy", [*_FLAGS, *flags]) as context:
        return from_flags(context.params, "n1")


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setattr(early, "prepare", lambda _settings, _tracking: SETTINGS)
    monkeypatch.setattr(early, "open_backend", lambda *_: Loading())


def test_a_backend_begins_with_the_settings_that_the_kernel_supports():
    settings, backend = early.begin(config())
    assert settings is SETTINGS
    assert backend.has_begun


@pytest.mark.parametrize("flag", ["--detect-local-mode=NodeCIDR", "--nodeport-addresses=primary"])
def test_no_backend_begins_whose_settings_wait_for_the_node(flag):
    assert early.begin(config(flag)) == (SETTINGS, None)


def run(program: str) -> str:
    """Return what a Python program prints."""
    command = [sys.executable, "-P", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def imported(program: str) -> set[str]:
    """Return the modules that a program has imported."""
    return set(run(f"{program}; import sys; print(*sys.modules)").split())


def test_a_command_line_is_read_without_what_takes_long_to_import():
    assert imported("from lab.main import load; load('proxy')").isdisjoint(
        {"aiohttp", "asyncio", "ssl", "proxy.node", "proxy.policy"}
    )


def test_who_forks_proxies_imports_all_of_them():
    assert imported("from lab.main import load_whole; load_whole('proxy')") >= {
        "aiohttp",
        "proxy.node",
        "proxy.backends.ebpf.backend",
        "proxy.backends.iptables.backend",
        "proxy.backends.nftables.backend",
    }


def test_aiohttp_reads_no_authorities_of_the_system():
    program = """
from proxy.cli import _imported
_imported()
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
"""
    assert run(program) == "0\n"
