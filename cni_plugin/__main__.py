"""The plugin in one process. The client executes it when no server takes a request.

It starts fast: the client executes this file by its path with ``-IS``, so Python searches no
packages, and the plugin imports only its own modules, and each only when a call needs it.
"""

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

gc.disable()  # the process ends before there is much garbage
if not __package__:  # executed by its path
    sys.path.append(str(Path(__file__).parent.parent))

from cni_plugin.linux.host import Host, open_namespace, read_boot_id  # noqa: E402
from cni_plugin.server.leave import leave_server  # noqa: E402
from cni_plugin.spec.request import Request  # noqa: E402
from cni_plugin.spec.versions import Verb  # noqa: E402
from cni_plugin.verbs.answer import (  # noqa: E402
    PluginAnswer,
    needs_other_programs,
    perform,
    understand,
)


def main(environment: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Answer one request. Returns the exit code."""
    host = Host(
        root=Path("/"),
        netns=open_namespace(environment.get("CNI_NETNS", "")),
        boot_id=read_boot_id(),
    )
    request = understand(environment, stdin.read())
    plugin_answer = request if isinstance(request, PluginAnswer) else perform(request, host)
    stdout.write(plugin_answer.stdout)
    stdout.flush()
    if isinstance(request, Request) and _may_be_served(request):
        leave_server(environment)
    return plugin_answer.code


def _may_be_served(request: Request) -> bool:
    """Return true if others like this request may follow, and a server can do them."""
    return request.verb in {Verb.ADD, Verb.DEL} and not needs_other_programs(request)


def _run() -> int:
    try:
        with open(0, "rb", closefd=False) as stdin, open(1, "wb", closefd=False) as stdout:
            return main(os.environ, stdin, stdout)
    except OSError as err:  # for example a closed pipe: the runtime then calls DEL
        file = err.filename if isinstance(err.filename, str) else "standard input or output"
        os.write(2, f"podwire-cni: {file}: {err.strerror}\n".encode())
        return 1


if __name__ == "__main__":
    os._exit(_run())  # Python's own clean-up at exit would take 5 ms
