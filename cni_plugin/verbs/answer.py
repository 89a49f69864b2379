"""The plugin's boundary: environment and standard input in, one document and a code out."""

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
from cni_plugin.spec.errors import CniError, NotAvailableError, OperationRefusedError
from cni_plugin.spec.request import Request, parse_request, version_of
from cni_plugin.spec.result import render
from cni_plugin.spec.versions import OLDEST, SUPPORTED, Verb
from cni_plugin.verbs import add_del_check as attachment
from cni_plugin.verbs import tuning
from cni_plugin.verbs.gc import attempt_all, is_spared, stale_links
from cni_plugin.verbs.status import check_host

_Document = Mapping[str, Any]
_Handler = Callable[[Request, Host, Ipam | None], _Document | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the plugin's stdout, and its exit code."""

    code: int
    stdout: bytes


def answer(environment: Mapping[str, str], stdin: bytes, host: Host) -> Answer:
    """Do what a runtime asks; never raises but for the end of the process."""
    request = understand(environment, stdin)
    return request if isinstance(request, Answer) else perform(request, host)


def understand(environment: Mapping[str, str], stdin: bytes) -> Request | Answer:
    """The request, or the answer that there is to one that is wrong."""
    try:
        return parse_request(environment, stdin)
    except CniError as err:
        return _failed(err, version_of(stdin))
    except Exception as err:  # noqa: BLE001  # the boundary: a runtime gets one document, always
        return _bug(err, version_of(stdin))


def perform(request: Request, host: Host) -> Answer:
    """Do it."""
    version = request.version if request.version in SUPPORTED else OLDEST
    try:
        document = _handle(request, host)
    except CniError as err:
        return _failed(err, version)
    except OSError as err:
        return _failed(OperationRefusedError(f"{request.verb}: {err}"), version)
    except Exception as err:  # noqa: BLE001  # as above
        return _bug(err, version)
    return Answer(0, b"" if document is None else _encode(document))


def needs_other_programs(request: Request) -> bool:
    """Whether only a process in the runtime's place can do it, for it executes a delegate.

    A delegate gets the runtime's environment, files and limits, which a server has not.
    """
    return is_delegated(request.conf)


def _failed(err: CniError, version: str) -> Answer:
    return Answer(1, _encode(err.document(version)))


def _bug(err: Exception, version: str) -> Answer:
    report_bug(err)
    return _failed(CniError(f"podwire-cni has a bug: {err!r}"), version)


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
        return host_ns.link(names.host_ifname(network, *owner)) is not None


def _serve_addresses(request: Request, ipam: Ipam) -> _Document | None:
    """Another plugin executes us as its IPAM: no interface, only addresses."""
    if request.verb is Verb.VERSION:
        return _version(request)
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


def _version(request: Request, *_: object) -> _Document:
    return {"cniVersion": request.version, "supportedVersions": list(SUPPORTED)}


def _add(request: Request, host: Host, ipam: Ipam | None) -> _Document:
    tuning.check_sysctls(request, host.root)
    with tuning.remembered(request, host):
        return attachment.add(request, host, ipam)


def _delete(request: Request, host: Host, ipam: Ipam | None) -> None:
    attachment.delete(request, host, ipam)
    if request.conf.wiring == "chained":  # an interface that we made is gone
        tuning.restore(request, host)


def _check(request: Request, host: Host, ipam: Ipam | None) -> None:
    attachment.check(request, host, ipam)
    tuning.check(request, host)


def _status(request: Request, host: Host, ipam: Ipam | None) -> None:
    del host
    with Namespace() as host_ns:
        check_host(request.conf, host_ns)
    if ipam is None:
        return
    try:
        ipam.status(request)
    except OSError as err:  # such as a disk that is full, or read only
        raise NotAvailableError(f"ipam: {err}") from err


def _collect(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Remove links, then rules, then free addresses, whatever of it fails."""
    with Namespace() as host_ns:
        rules = attachment.firewall(request, host, host_ns)
        attempts: list[Callable[[], object]] = [
            partial(host.remove, host_ns, stale_links(request, host_ns.links())),
            partial(rules.collect, partial(is_spared, request, host_ns.link)),
        ]
        if ipam is not None:
            attempts.append(partial(ipam.collect, request))
        if request.conf.wiring == "chained":
            attempts.append(partial(tuning.collect, request, host))
        attempt_all(attempts)


_VERBS: dict[Verb, _Handler] = {
    Verb.ADD: _add,
    Verb.DEL: _delete,
    Verb.CHECK: _check,
    Verb.STATUS: _status,
    Verb.GC: _collect,
    Verb.VERSION: _version,
}
