"""What the ``tuning`` options keep in files: which sysctls may be set, how an interface was before.

The administrator's allowlist is a file of regular expressions, one a line; without it every sysctl
of the container may be set. An interface that a chained plugin changed may outlive the attachment,
as a device of the host's does: a file in ``dataDir`` says how it was, and DEL puts that back.
Source: the reference's tuning plugin (containernetworking/plugins, plugins/meta/tuning). The files
are as it reads and writes them, so that either undoes what the other did.
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
_WHOSE = "podwire"  # a key of ours in the files; the reference passes over it
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)
Json = dict[str, Any]


# -- sysctls


def check_sysctls(request: Request, root: Path) -> None:
    """Raise InvalidConfigurationError for a sysctl that is there twice, or that is not allowed."""
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
    """A parser that keeps the last of two would hide what the other member says."""
    document = json.loads(raw, object_pairs_hook=list)
    members = (value or () for key, value in document if key.casefold() == "sysctl")
    seen = set[str]()
    for key, _ in (pair for value in members for pair in value):
        if key in seen:
            raise InvalidConfigurationError(f"sysctl {key!r} is there twice")
        seen.add(key)


def _allowlist(path: Path) -> list[re.Pattern[str]] | None:
    """The file's patterns; None where there is no file."""
    try:
        lines = path.read_text().splitlines()
        return [re.compile(line.strip()) for line in lines if line.strip()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, re.error) as err:
        raise InputOutputError(f"/{_ALLOWLIST} cannot be read: {err}") from err


# -- the interface


@contextmanager
def remembered(request: Request, host: Host) -> Iterator[None]:
    """Write down what a chained ADD changes of the interface; one that fails is undone at once."""
    if before := _before(request, host):
        _write(_file(request, host), before, request)
    try:
        yield
    except Exception:
        if before:
            restore(request, host)
        raise


def _before(request: Request, host: Host) -> Json:
    tuned = _tuned(request) if request.conf.wiring == "chained" else {}
    there = _state(host.netns, request.ifname) if tuned else {}
    return {name: there[name] for name in tuned if there.get(name, tuned[name]) != tuned[name]}


def restore(request: Request, host: Host) -> None:
    """Put back what is written down of an interface; nothing, or no interface, is fine."""
    path = _file(request, host)
    try:
        before = json.loads(path.read_bytes())
        _put_back(host.netns, request.ifname, before)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, AttributeError) as err:
        # the attachment goes all the same; whoever has the interface next sees it
        warn("%s of %s is not as it was: %s", request.ifname, request.container_id, err)
    path.unlink(missing_ok=True)


def check(request: Request, host: Host) -> None:
    """Raise CheckFailedError unless the interface is as the options say, or a later plugin did."""
    tuned, later = _tuned(request), _shown(request)
    there = _state(host.netns, request.ifname) if tuned else {}
    wrong = [
        f"{name} is {there.get(name)}, not {value}"
        for name, value in tuned.items()
        if there.get(name) not in {value, later.get(name, value)}
    ]
    if wrong:
        raise CheckFailedError(
            f"{request.ifname} of container {request.container_id}: {wrong[0]}", "; ".join(wrong)
        )


def collect(request: Request, host: Host) -> None:
    """Remove what is written down for attachments of the network that are not valid."""
    for path in _folder(request, host).glob("*.json"):
        with suppress(FileNotFoundError):
            if _is_stale(path.read_bytes(), request):
                path.unlink()


def _is_stale(written: bytes, request: Request) -> bool:
    """Whether a file is torn, or of a lost attachment; the reference's say of none."""
    try:
        network, *attachment = json.loads(written).get(_WHOSE) or ("",)
    except (ValueError, TypeError, AttributeError):
        return True
    return network == request.conf.name and tuple(attachment) not in request.valid


def _tuned(request: Request) -> Json:
    """What the options set of the interface; one that we make is made with its MAC and MTU."""
    conf = request.conf
    chained = conf.wiring == "chained"
    options = {
        "mac": (request.asked_mac if chained else "") or None,
        "mtu": (conf.mtu if chained else 0) or None,
        "promisc": conf.promisc or None,
        "allmulti": conf.allmulti,
        "txQLen": conf.tx_q_len,
    }
    if conf.wiring == "loopback":
        return {}
    return {name: value for name, value in options.items() if value is not None}


def _shown(request: Request) -> Json:
    """What the chain's result says of the interface."""
    for item in request.previous.interfaces if request.previous else ():
        if item.name == request.ifname and item.sandbox:
            return {"mac": item.mac.lower()} | ({"mtu": item.mtu} if item.mtu else {})
    return {}


def _state(fd: int | None, name: str) -> Json:
    """How a container's interface is, in the words of the options; nothing when it is gone."""
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


def _put_back(fd: int | None, name: str, before: Mapping[str, Any]) -> None:
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


# -- the files


def _folder(request: Request, host: Host) -> Path:
    return below(host.root, request.conf.data_dir or _DEFAULT_DATA_DIR)


def _file(request: Request, host: Host) -> Path:
    return _folder(request, host) / f"{request.container_id}_{request.ifname}.json"


def _write(path: Path, before: Json, request: Request) -> None:
    """Nothing is changed before it is written, so a torn file says as much as none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(before | {_WHOSE: request.attachment}).encode())
    finally:
        os.close(descriptor)
