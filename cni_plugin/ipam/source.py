"""The IPAM of a network, by its configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cni_plugin.ipam.delegate import DelegateIpam
from cni_plugin.ipam.local import LocalIpam
from cni_plugin.ipam.store import Owner
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Result

# this IPAM, the plugin that it replaces, and this program as another plugin's IPAM
_IN_PROCESS = frozenset({"podwire", "host-local", "podwire-cni"})
_OUR_TYPE, _IPAM_PLUGIN = "podwire-cni", "host-local"


class Ipam(Protocol):
    """Address management for one network. Each method raises CniError."""

    def add(self, request: Request) -> Result: ...
    def delete(self, request: Request) -> None: ...
    def check(self, request: Request) -> None: ...
    def status(self, request: Request) -> None: ...
    def collect(self, request: Request) -> None: ...


def is_delegated(conf: NetConf) -> bool:
    """Return true if the IPAM is another program."""
    outside = bool(conf.ipam.type) and conf.ipam.type not in _IN_PROCESS
    return outside and conf.type != _IPAM_PLUGIN


def is_delegate(conf: NetConf) -> bool:
    """Return true if another plugin executes this program as its IPAM."""
    return conf.type == _IPAM_PLUGIN or conf.ipam.type == _OUR_TYPE != conf.type


def source_of(
    conf: NetConf, root: Path, boot_id: str, is_attached: Callable[[Owner], bool]
) -> Ipam | None:
    """The IPAM of a network; None if its containers get no addresses."""
    if not conf.ipam.type and conf.type != _IPAM_PLUGIN:
        return None
    if is_delegated(conf):
        return DelegateIpam()
    return LocalIpam(root, boot_id, None if is_delegate(conf) else is_attached)
