"""The API client of every component: verbs, informers, events, leader election.

This room imports ``control.api`` only. Start reading with ``rest.py`` (the verbs), then
``informer.py`` (a local copy of a collection) and ``cache.py`` (its pure core).

async with Client.from_kubeconfig(path) as client:
    pods = Informer(client, kinds.POD, field_selector="spec.nodeName=node1")
    pods.subscribe(lambda old, new: ...)
    await pods.run()

``events`` (Events about objects) and ``election`` (one leader of several replicas) write objects of
their own. Import them by name: a process that needs neither starts without the models. The names
here are imported when they are asked for: aiohttp, which some of them need, takes 0.07 s, and the
proxy has the kernel check its programs meanwhile.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from control.client.errors import ApiError, ClientError, UnreachableError
    from control.client.informer import Informer
    from control.client.kubeconfig import ClientConfig, Credentials, KubeconfigError
    from control.client.listing import Listing
    from control.client.rest import Client
    from control.client.stream import Bookmark, ObjectEvent, UnreadableEvent

__all__ = [
    "ApiError",
    "Bookmark",
    "Client",
    "ClientConfig",
    "ClientError",
    "Credentials",
    "Informer",
    "KubeconfigError",
    "Listing",
    "ObjectEvent",
    "UnreachableError",
    "UnreadableEvent",
]

_PLACES = {
    "errors": ("ApiError", "ClientError", "UnreachableError"),
    "informer": ("Informer",),
    "kubeconfig": ("ClientConfig", "Credentials", "KubeconfigError"),
    "listing": ("Listing",),
    "rest": ("Client",),
    "stream": ("Bookmark", "ObjectEvent", "UnreadableEvent"),
}

if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import the module of a name (PEP 562)."""
        for module, names in _PLACES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
