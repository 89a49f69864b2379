"""The plugin's boundary: environment and standard input in, standard output and exit code out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cni_plugin.ipam.source import Ipam, is_delegate, is_delegated, source_of
from cni_plugin.ipam.store import Owner
from cni_plugin.linux.host import Host
from cni_plugin.linux.log import report_bug
from cni_plugin.linux.namespace import Namespace
from cni_plugin.spec import names
from cni_plugin.spec.errors import CniError, OperationRefusedError
from cni_plugin.spec.request import Request, parse_request, version_of
from cni_plugin.spec.result import render
from cni_plugin.spec.versions import OLDEST, SUPPORTED, Verb
from cni_plugin.verbs.add_del_check import add, check, delete
from cni_plugin.verbs.gc import collect
from cni_plugin.verbs.status import check_status

_Document = Mapping[str, Any]
_Handler = Callable[[Request, Host, Ipam | None], _Document | None]


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """The plugin's exit code and standard output."""

    code: int
    stdout: bytes


def answer(environment: Mapping[str, str], stdin: bytes, host: Host) -> PluginAnswer:
    """Answer a runtime's call. Raises nothing but exceptions that end the process."""
    request = understand(environment, stdin)
    return request if isinstance(request, PluginAnswer) else perform(request, host)


def understand(environment: Mapping[str, str], stdin: bytes) -> Request | PluginAnswer:
    """The request, or the answer to an invalid one."""
    try:
        return parse_request(environment, stdin)
    except CniError as err:
        return _failure(err, version_of(stdin))
    except Exception as err:  # noqa: BLE001  # the boundary: a runtime always gets one document
        return _bug(err, version_of(stdin))


def perform(request: Request, host: Host) -> PluginAnswer:
    """Carry out a request."""
    version = request.version if request.version in SUPPORTED else OLDEST
    try:
        document = _handle(request, host)
    except CniError as err:
        return _failure(err, version)
    except OSError as err:
        return _failure(OperationRefusedError(f"{request.verb}: {err}"), version)
    except Exception as err:  # noqa: BLE001  # as above
        return _bug(err, version)
    return PluginAnswer(0, b"" if document is None else _encode(document))


def needs_other_programs(request: Request) -> bool:
    """Return true if a request executes an IPAM plugin.

    That plugin gets the environment, descriptors and limits of the runtime, which a server does
    not have.
    """
    return is_delegated(request.conf)


def _failure(err: CniError, version: str) -> PluginAnswer:
    return PluginAnswer(1, _encode(err.document(version)))


def _bug(err: Exception, version: str) -> PluginAnswer:
    report_bug(err)
    return _failure(CniError(f"podwire-cni has a bug: {err!r}"), version)


def _encode(document: _Document) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _handle(request: Request, host: Host) -> _Document | None:
    ipam = source_of(
        request.conf, host.root, host.boot_id, partial(_is_attached, request.conf.name)
    )
    if ipam is not None and is_delegate(request.conf):
        return _serve_addresses(request, ipam)
    return _VERBS[request.verb](request, host, ipam)


def _is_attached(network: str, owner: Owner) -> bool:
    with Namespace() as host_ns:
        return host_ns.link(names.host_link_name(network, *owner)) is not None


def _serve_addresses(request: Request, ipam: Ipam) -> _Document | None:
    """Answer another plugin that executes this one as its IPAM: addresses, no interface."""
    if request.verb is Verb.VERSION:
        return _supported_versions(request)
    if request.verb is Verb.ADD:
        return render(ipam.add(request), request.version)
    verbs = {
        Verb.DEL: ipam.delete,
        Verb.CHECK: ipam.check,
        Verb.STATUS: ipam.status,
        Verb.GC: ipam.collect,
    }
    verbs[request.verb](request)
    return None


def _supported_versions(request: Request, *_: object) -> _Document:
    return {"cniVersion": request.version, "supportedVersions": list(SUPPORTED)}


_VERBS: dict[Verb, _Handler] = {
    Verb.ADD: add,
    Verb.DEL: delete,
    Verb.CHECK: check,
    Verb.STATUS: check_status,
    Verb.GC: collect,
    Verb.VERSION: _supported_versions,
}
