"""The options of the reference's tuning plugin, as far as files belong to them.

The administrator's allowlist of sysctls is a file of regular expressions, one on each line; without
it every sysctl of the container is allowed. An interface that a chained plugin changed may outlive
the attachment, for example a device of the host. So ADD saves the interface's state in a file in
``dataDir``, and DEL restores it.
Source: containernetworking/plugins, plugins/meta/tuning. The files have its format, so that each
plugin can restore what the other saved.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cni_plugin.linux import uapi
from cni_plugin.linux.host import Host, below
from cni_plugin.linux.log import warn
from cni_plugin.linux.namespace import Namespace, is_container
from cni_plugin.linux.netlink import Attributes, NetlinkError, number, pack, packed_mac, unpack
from cni_plugin.spec.errors import CheckFailedError, InputOutputError, InvalidConfigurationError
from cni_plugin.spec.request import Request

_ALLOWLIST = "etc/cni/tuning/allowlist.conf"
_DEFAULT_DATA_DIR = "/run/cni/tuning"
_ATTACHMENT = "podwire"  # podwire's key in the files; the reference plugin ignores it
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)
Json = dict[str, Any]


def check_sysctls(request: Request, root: Path) -> None:
    """Raise InvalidConfigurationError for a sysctl that occurs twice or is not allowed."""
    if not request.conf.sysctl:
        return
    _check_once(request.raw)
    patterns = _allowlist(root / _ALLOWLIST)
    for key in request.conf.sysctl:
        if patterns is not None and not any(pattern.search(key) for pattern in patterns):
            raise InvalidConfigurationError(
                f"sysctl {key!r} is not allowed on this host", f"see /{_ALLOWLIST}"
            )


def _check_once(raw: bytes) -> None:
    """Raise for a key that occurs twice: the JSON parser keeps the last value only."""
    document = json.loads(raw, object_pairs_hook=list)
    members = (value or () for key, value in document if key.casefold() == "sysctl")
    seen = set[str]()
    for key, _ in (pair for value in members for pair in value):
        if key in seen:
            raise InvalidConfigurationError(f"sysctl {key!r} is there twice")
        seen.add(key)


def _allowlist(path: Path) -> list[re.Pattern[str]] | None:
    """The patterns of the allowlist; None if there is no file."""
    try:
        lines = path.read_bytes().decode().splitlines()
        return [re.compile(line.strip()) for line in lines if line.strip()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, re.error) as err:
        raise InputOutputError(f"/{_ALLOWLIST} cannot be read: {err}") from err


@contextmanager
def saved(request: Request, host: Host) -> Iterator[None]:
    """Save what a chained ADD changes of the interface. After an error, restore it at once."""
    if before := _before(request, host):
        _write(_file(request, host), before, request)
    try:
        yield
    except Exception:
        if before:
            restore(request, host)
        raise


def _before(request: Request, host: Host) -> Json:
    wanted = _wanted(request) if request.conf.wiring == "chained" else {}
    actual = _state(host.netns, request.ifname) if wanted else {}
    return {name: actual[name] for name in wanted if actual.get(name, wanted[name]) != wanted[name]}


def restore(request: Request, host: Host) -> None:
    """Restore an interface's saved state, if there is one and the interface exists."""
    path = _file(request, host)
    try:
        before = json.loads(path.read_bytes())
        _restore(host.netns, request.ifname, before)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, AttributeError) as err:
        # DEL must succeed; the log tells the administrator about the interface
        warn("%s of %s is not as it was: %s", request.ifname, request.container_id, err)
    path.unlink(missing_ok=True)


def check(request: Request, host: Host) -> None:
    """Raise CheckFailedError unless the interface is as the options or a later plugin set it."""
    wanted, listed = _wanted(request), _listed(request)
    actual = _state(host.netns, request.ifname) if wanted else {}
    wrong = [
        f"{name} is {actual.get(name)}, not {value}"
        for name, value in wanted.items()
        if actual.get(name) not in {value, listed.get(name, value)}
    ]
    if wrong:
        raise CheckFailedError(
            f"{request.ifname} of container {request.container_id}: {wrong[0]}", "; ".join(wrong)
        )


def collect(request: Request, host: Host) -> None:
    """Remove the saved states of the network's attachments that are not valid."""
    for path in _folder(request, host).glob("*.json"):
        with suppress(FileNotFoundError):
            if _is_stale(path.read_bytes(), request):
                path.unlink()


def _is_stale(content: bytes, request: Request) -> bool:
    """Return true if a file is torn, or of an attachment that is not valid.

    The reference plugin's files name no attachment: they stay.
    """
    try:
        network, *attachment = json.loads(content).get(_ATTACHMENT) or ("",)
    except (ValueError, TypeError, AttributeError):
        return True
    return network == request.conf.name and tuple(attachment) not in request.valid


def _wanted(request: Request) -> Json:
    """The properties that the options set. Only a chained ADD sets MAC and MTU by them."""
    conf = request.conf
    chained = conf.wiring == "chained"
    options = {
        "mac": (request.requested_mac if chained else "") or None,
        "mtu": (conf.mtu if chained else 0) or None,
        "promisc": conf.promisc or None,
        "allmulti": conf.allmulti,
        "txQLen": conf.tx_q_len,
    }
    if conf.wiring == "loopback":
        return {}
    return {name: value for name, value in options.items() if value is not None}


def _listed(request: Request) -> Json:
    """The interface's properties in the chain's result."""
    for item in request.previous.interfaces if request.previous else ():
        if item.name == request.ifname and item.sandbox:
            return {"mac": item.mac.lower()} | ({"mtu": item.mtu} if item.mtu else {})
    return {}


def _state(fd: int | None, name: str) -> Json:
    """The properties of a container's interface, by option; empty if it does not exist."""
    if not is_container(fd):
        return {}
    with Namespace(fd) as pod_ns:
        found = pod_ns.socket.get(uapi.RTM_GETLINK, _ANY_LINK + pack({uapi.IFLA_IFNAME: name}))
    if found is None:
        return {}
    flags = uapi.IFINFOMSG.unpack_from(found)[3]
    attributes = unpack(found, uapi.IFINFOMSG.size)
    return {
        "mac": attributes.get(uapi.IFLA_ADDRESS, b"").hex(":"),
        "mtu": number(attributes.get(uapi.IFLA_MTU)),
        "promisc": bool(flags & uapi.IFF_PROMISC),
        "allmulti": bool(flags & uapi.IFF_ALLMULTI),
        "txQLen": number(attributes.get(uapi.IFLA_TXQLEN)),
    }


def _restore(fd: int | None, name: str, before: Mapping[str, Any]) -> None:
    if not is_container(fd):
        return
    flags = {"promisc": uapi.IFF_PROMISC, "allmulti": uapi.IFF_ALLMULTI}
    change = sum(flag for key, flag in flags.items() if before.get(key) is not None)
    on = sum(flag for key, flag in flags.items() if before.get(key))
    mac = before.get("mac")
    attributes: Attributes = {
        uapi.IFLA_IFNAME: name,
        uapi.IFLA_ADDRESS: packed_mac(mac) if mac else None,
        uapi.IFLA_MTU: before.get("mtu") or None,
        uapi.IFLA_TXQLEN: before.get("txQLen"),
    }
    body = uapi.IFINFOMSG.pack(0, 0, 0, on, change) + pack(attributes)
    with Namespace(fd) as pod_ns:
        try:
            pod_ns.socket.change(uapi.RTM_NEWLINK, body)
        except NetlinkError as err:
            if not err.absent:
                raise


def _folder(request: Request, host: Host) -> Path:
    return below(host.root, request.conf.data_dir or _DEFAULT_DATA_DIR)


def _file(request: Request, host: Host) -> Path:
    return _folder(request, host) / f"{request.container_id}_{request.ifname}.json"


def _write(path: Path, before: Json, request: Request) -> None:
    """Save a state. The interface is changed after this, so a torn file needs no restoring."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(before | {_ATTACHMENT: request.attachment}).encode())
    finally:
        os.close(descriptor)
