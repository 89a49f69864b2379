"""IPAM by another plugin, executed with the environment and configuration of this one.

Source: CNI specification 1.1.0, section 4 "Plugin Delegation".
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cni_plugin.linux.programs import Finished, execute, find
from cni_plugin.spec.errors import CniError, DelegateError, InvalidConfigurationError
from cni_plugin.spec.names import is_identifier
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Address, Cidr, Network, Result, parse
from cni_plugin.spec.versions import SUPPORTED, Verb


class DelegateIpam:
    """The IPAM plugin of the name ``ipam.type``, in a folder of CNI_PATH."""

    def add(self, request: Request) -> Result:
        """Execute ADD, and after an error DEL. Returns the plugin's result."""
        try:
            return _result(_execute(request, Verb.ADD), request)
        except CniError:
            with suppress(CniError):
                _execute(request, Verb.DEL)
            raise

    def delete(self, request: Request) -> None:
        """Execute DEL."""
        _execute(request, Verb.DEL)

    def check(self, request: Request) -> None:
        """Execute CHECK."""
        _execute(request, Verb.CHECK)

    def status(self, request: Request) -> None:
        """Execute STATUS."""
        _execute(request, Verb.STATUS)

    def collect(self, request: Request) -> None:
        """Execute GC."""
        _execute(request, Verb.GC)


def _execute(request: Request, verb: Verb) -> bytes:
    path = _find(request)
    environment = {**request.environment, "CNI_COMMAND": verb}
    process = execute([path], request.raw, environment=environment, shows_errors=True)
    if process.code:
        raise _failure(path, verb, process)
    return process.stdout


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


def _failure(path: Path, verb: Verb, process: Finished) -> DelegateError:
    """The plugin's own error with its code, and with the plugin's name."""
    try:
        document = json.loads(process.stdout)
        code, message = int(document["code"]), str(document["msg"])
        details = str(document.get("details") or "")
    except (ValueError, KeyError, TypeError):
        output = process.stdout.decode(errors="replace").strip()
        return DelegateError(f"ipam plugin {path} {verb} ended with {process.code}", output)
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
    _check_gateways(result, request.conf.ipam.type)
    return result


def _check_gateways(result: Result, kind: str) -> None:
    """Raise InvalidConfigurationError for a gateway of the other IP version than its address."""
    pairs: list[tuple[Address | None, Cidr | Network]] = [
        *((item.gateway, item.address) for item in result.ips),
        *((route.gw, route.dst) for route in result.routes),
    ]
    for gateway, of in pairs:
        if gateway is not None and gateway.version != of.version:
            raise InvalidConfigurationError(
                f"ipam plugin {kind} gave {of} gateway {gateway}, of another IP version"
            )
