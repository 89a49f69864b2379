"""Every kubectl on this machine: the one on the PATH, and older and newer ones beside it."""

import shutil
from pathlib import Path

from tests.control.server.conftest import Kubectl, Secured

_OTHERS = Path("/usr/lib/google-cloud-sdk/bin")
_OWN = shutil.which("kubectl")

KUBECTLS = [*([Path(_OWN)] if _OWN else []), *sorted(_OTHERS.glob("kubectl.1.*"))]


def at_version(server: Secured, program: Path) -> Kubectl:
    """One of them, with a cache of its own."""
    return Kubectl(server, str(program))
