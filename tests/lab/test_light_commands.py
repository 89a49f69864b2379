"""Commands that scripts run again and again start soon: they import little."""

import subprocess
import sys

from tests.support.cni.worker import ROOT

# The API's client and types, and what they stand on. In a process of its own: other tests use them.
_HEAVY = """
import sys
from lab import cli, light_commands
print(sorted({"aiohttp", "pydantic", "cryptography", "control.api"} & set(sys.modules)))
"""


def test_light_commands_import_neither_client_nor_types():
    command = [sys.executable, "-P", "-c", _HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
