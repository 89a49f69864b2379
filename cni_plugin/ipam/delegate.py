"""Another program as IPAM: executed as the specification says, with all that we were given.

Source: CNI specification 1.1.0, section 4 "Plugin Delegation".
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cni_plugin.linux.programs import execute, find
from cni_plugin.spec.errors import CniError, DelegateError, InvalidConfigurationError
from cni_plugin.spec.names import is_identifier
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Result, parse
from cni_plugin.spec.versions import SUPPORTED, Verb

if TYPE_CHECKING:
    from subprocess import CompletedProcess


class DelegateIpam:
    """The IPAM plugin ``ipam.type``, found through CNI_PATH."""

    def add(self, request: Request) -> Result:
        """Its addresses; when it fails, it is executed again with DEL."""
        try:
            return _result(_execute(request, Verb.ADD), request)
        except CniError:
            with suppress(CniError):
                _execute(request, Verb.DEL)
            raise

    def delete(self, request: Request) -> None:
        """Execute it with DEL."""
        _execute(request, Verb.DEL)

    def check(self, request: Request) -> None:
        """Execute it with CHECK."""
        _execute(request, Verb.CHECK)

    def status(self, request: Request) -> None:
        """Execute it with STATUS."""
        _execute(request, Verb.STATUS)

    def collect(self, request: Request) -> None:
        """Execute it with GC."""
        _execute(request, Verb.GC)


def _execute(request: Request, verb: Verb) -> bytes:
    path = _find(request)
    environment = {**request.environment, "CNI_COMMAND": verb}
    done = execute([path], request.raw, environment=environment, stderr=sys.stderr.fileno())
    if done.returncode:
        raise _failure(path, verb, done)
    return done.stdout


def _find(request: Request) -> Path:
    kind = request.conf.ipam.type
    if not is_identifier(kind):
        raise InvalidConfigurationError(f"ipam.type {kind!r} is no plugin's name")
    folders = request.environment.get("CNI_PATH", "")
    if (found := find(kind, folders)) is None:
        raise InvalidConfigurationError(
            f"ipam plugin {kind!r} is not in CNI_PATH", f"CNI_PATH={folders}"
        )
    return found


def _failure(path: Path, verb: Verb, done: "CompletedProcess[bytes]") -> DelegateError:
    """The delegate's own error, with its code, and who it came from."""
    try:
        said = json.loads(done.stdout)
        code, message = int(said["code"]), str(said["msg"])
        details = str(said.get("details") or "")
    except (ValueError, KeyError, TypeError):
        shown = done.stdout.decode(errors="replace").strip()
        return DelegateError(f"ipam plugin {path} {verb} ended with {done.returncode}", shown)
    return DelegateError(f"ipam plugin {path.name} {verb}: {message}", details, code)


def _result(stdout: bytes, request: Request) -> Result:
    try:
        document: Any = json.loads(stdout)
        version = document.get("cniVersion") or request.version
    except (ValueError, AttributeError) as err:
        raise DelegateError(f"ipam plugin {request.conf.ipam.type} printed no result") from err
    result = parse(document, version if version in SUPPORTED else request.version)
    if not result.ips:
        raise DelegateError(f"ipam plugin {request.conf.ipam.type} gave no address")
    return result
