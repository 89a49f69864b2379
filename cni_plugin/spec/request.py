"""The request of a runtime: environment and standard input, parsed and validated once; pure.

Source: CNI specification 1.1.0, section 2 "Parameters".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_interface
from typing import Any

from cni_plugin.spec.config import CACHED_CONFS, NetConf
from cni_plugin.spec.errors import (
    CniError,
    DecodingError,
    InvalidConfigurationError,
    InvalidEnvironmentError,
)
from cni_plugin.spec.names import Names, is_identifier, is_link_name, is_mac, names_of
from cni_plugin.spec.result import Cidr, Result, parse
from cni_plugin.spec.versions import OLDEST, SUPPORTED, Verb, require

# ext4's limit of a file name: a network's reservations are in a folder of its name
_LONGEST_NAME = 255
_LONGEST_UID = 64
_BOOLEANS = {"0": False, "1": True, "false": False, "true": True}
_PROGRAM = "CNI_PODWIRE_PROGRAM"  # the clients say there by which name they were executed
_REQUIRED = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.GC: ("CNI_PATH",),
    Verb.STATUS: (),
    Verb.VERSION: (),
}


@dataclass(frozen=True, slots=True)
class CniArgs:
    """The known keys of CNI_ARGS. ``IP`` may have several addresses, with commas between them.

    ``pod_uid`` is K8S_POD_UID, which runtimes of Kubernetes send; empty without, or if it is none.
    """

    ips: tuple[Cidr, ...] = ()
    mac: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A valid call of the plugin.

    ``raw`` is the configuration as it came, ``environment`` has all variables; both are for IPAM
    plugins. ``valid`` has the (container ID, interface) of the attachments that GC must keep.
    """

    verb: Verb
    container_id: str
    ifname: str
    netns: str
    args: CniArgs
    conf: NetConf
    raw: bytes
    environment: Mapping[str, str]
    previous: Result | None = None
    valid: frozenset[tuple[str, str]] = frozenset()

    @property
    def version(self) -> str:
        """The cniVersion of the answer."""
        return self.conf.cni_version or OLDEST

    @property
    def attachment(self) -> tuple[str, str, str]:
        """(network, container ID, interface): the key of all state."""
        return self.conf.name, self.container_id, self.ifname

    @property
    def names(self) -> Names:
        """The names of the attachment's objects on the host."""
        return names_of(*self.attachment, wired=self.conf.wiring != "chained")

    @property
    def requested_mac(self) -> str:
        """The requested MAC address: of the runtime, args.cni, CNI_ARGS or ``mac``."""
        conf = self.conf
        requested = conf.runtime_config.mac or conf.args.cni.mac or self.args.mac or conf.mac
        return requested.lower()


def version_of(stdin: bytes) -> str:
    """The version of the answer, also if the rest of the input is invalid."""
    try:
        document = json.loads(stdin)
    except (ValueError, RecursionError):
        return OLDEST
    version = _version_in(document) if isinstance(document, dict) else None
    return version if isinstance(version, str) and version in SUPPORTED else OLDEST


def _version_in(document: Mapping[str, Any]) -> object:
    """The configuration's cniVersion. Of several keys that differ in case only, the last counts."""
    values = [item for key, item in document.items() if key.casefold() == "cniversion"]
    return next((item for item in reversed(values) if item is not None), None) or OLDEST


def parse_request(environment: Mapping[str, str], stdin: bytes) -> Request:
    """Parse environment and standard input. Raises CniError with the specification's code."""
    verb = _verb(environment)
    document = _document(stdin)
    version = _version_in(document)
    if not isinstance(version, str):
        raise DecodingError(f"cniVersion {version!r} is not a string")
    if verb is Verb.VERSION:  # runtimes send dummy values with it
        return Request(verb, "", "", "", CniArgs(), NetConf(cni_version=version), stdin, {})
    _check_environment(verb, environment)
    require(verb, version)
    conf = _conf(stdin, environment.get(_PROGRAM, ""))
    return Request(
        verb=verb,
        container_id=environment.get("CNI_CONTAINERID", ""),
        ifname=environment.get("CNI_IFNAME", ""),
        netns=environment.get("CNI_NETNS", ""),
        args=parse_args(environment.get("CNI_ARGS", "")) if conf.takes_args else CniArgs(),
        conf=conf,
        raw=stdin,
        environment=environment,
        previous=_previous(verb, conf),
        valid=_valid_attachments(document) if verb is Verb.GC else frozenset(),
    )


def _verb(environment: Mapping[str, str]) -> Verb:
    command = environment.get("CNI_COMMAND", "")
    if command not in set(Verb):
        raise InvalidEnvironmentError(
            f"CNI_COMMAND {command!r} is not known" if command else "CNI_COMMAND is not set",
            f"known: {', '.join(Verb)}",
        )
    return Verb(command)


def _check_environment(verb: Verb, environment: Mapping[str, str]) -> None:
    missing = [name for name in _REQUIRED[verb] if not environment.get(name)]
    if missing:
        raise InvalidEnvironmentError(f"{verb} needs {', '.join(missing)}")
    container_id = environment.get("CNI_CONTAINERID", "")
    if container_id and not is_identifier(container_id):
        raise InvalidEnvironmentError(
            f"CNI_CONTAINERID {container_id!r} is malformed",
            "a letter or digit, then letters, digits, '_', '.' or '-'",
        )
    ifname = environment.get("CNI_IFNAME", "")
    if ifname and not is_link_name(ifname):
        raise InvalidEnvironmentError(
            f"CNI_IFNAME {ifname!r} is no name for an interface",
            "1 to 15 bytes, not '.' or '..', without '/', ':', '%' or white space",
        )


@lru_cache(CACHED_CONFS)
def _document(stdin: bytes) -> dict[str, Any]:
    try:
        document = json.loads(stdin or b"{}")
    except (ValueError, RecursionError) as err:
        raise DecodingError("the network configuration is no JSON", str(err)) from err
    if not isinstance(document, dict):
        raise DecodingError("the network configuration is no JSON object")
    return _encodable(document) if b"\\u" in stdin or b"\xed" in stdin else document


def _encodable(document: dict[str, Any]) -> dict[str, Any]:
    """The document with U+FFFD for halves of surrogate pairs, as Go's decoder has it.

    No file, link or rule could be named with such a half.
    """
    text = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    replaced: dict[str, Any] = json.loads(text.decode(errors="replace"))
    return replaced


@lru_cache(CACHED_CONFS)
def _conf(stdin: bytes, program: str) -> NetConf:
    try:
        conf = NetConf.read(_document(stdin)).with_args().called(program)
    except ValueError as err:
        raise DecodingError("the network configuration has wrong values", str(err)) from err
    if not conf.name:
        raise InvalidConfigurationError("the network configuration has no name")
    if not is_identifier(conf.name) or len(conf.name) > _LONGEST_NAME:
        raise InvalidConfigurationError(
            f"network name {conf.name!r} is malformed",
            "a letter or digit, then letters, digits, '_', '.' or '-', at most 255",
        )
    return conf


def parse_args(text: str) -> CniArgs:
    """Parse CNI_ARGS, ``K=V;K=V``. Raises InvalidEnvironmentError.

    An unknown key is an error unless IgnoreUnknown is set. What LoadArgs of
    github.com/containernetworking/cni/pkg/types refuses is refused: an empty pair, a second ``=``.
    """
    pairs = [item.partition("=") for item in text.split(";")] if text else []
    if broken := ["".join(pair) for pair in pairs if not pair[1] or "=" in pair[2]]:
        raise InvalidEnvironmentError(f"CNI_ARGS: {broken[0]!r} is not KEY=VALUE")
    values = {key: value for key, _, value in pairs}
    ignore = _ignores_unknown(values.pop("IgnoreUnknown", "0"))
    unknown = values.keys() - {"IP", "MAC"}
    if unknown and not ignore:
        raise InvalidEnvironmentError(
            f"CNI_ARGS: unknown {', '.join(sorted(unknown))}",
            "IgnoreUnknown=1 lets unknown keys pass",
        )
    try:
        ips = tuple(ip_interface(item.strip()) for item in values.get("IP", "").split(",") if item)
    except ValueError as err:
        raise InvalidEnvironmentError(f"CNI_ARGS: IP {values['IP']!r} is malformed") from err
    mac = values.get("MAC", "")
    if mac and not is_mac(mac):
        raise InvalidEnvironmentError(f"CNI_ARGS: MAC {mac!r} is malformed")
    uid = values.get("K8S_POD_UID", "")
    return CniArgs(ips, mac, uid if _is_uid(uid) else "")


def _is_uid(text: str) -> bool:
    return len(text) <= _LONGEST_UID and text.isascii() and text.replace("-", "").isalnum()


def _ignores_unknown(value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise InvalidEnvironmentError(
            f"CNI_ARGS: IgnoreUnknown {value!r} is no boolean", f"want {', '.join(_BOOLEANS)}"
        )
    return _BOOLEANS[value.lower()]


def _previous(verb: Verb, conf: NetConf) -> Result | None:
    if conf.prev_result is None:
        return None
    try:
        if not isinstance(conf.prev_result, dict):
            raise DecodingError(f"prevResult {conf.prev_result!r} is no object")
        return parse(conf.prev_result, _previous_version(conf.prev_result, conf))
    except CniError:
        if verb in {Verb.DEL, Verb.GC}:  # they do not need it
            return None
        raise


def _previous_version(document: Mapping[str, Any], conf: NetConf) -> str:
    own = conf.cni_version or OLDEST
    version = document.get("cniVersion") or own
    return version if version in SUPPORTED else own


def _valid_attachments(document: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The attachments that GC must keep. A missing list is an error: GC would remove everything."""
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        if key in document:
            break
    else:
        raise InvalidConfigurationError("GC needs cni.dev/valid-attachments")
    try:
        return frozenset(
            (str(item["containerID"]), str(item["ifname"])) for item in document[key] or ()
        )
    except (TypeError, KeyError) as err:
        raise DecodingError(f"{key} is no list of attachments") from err
