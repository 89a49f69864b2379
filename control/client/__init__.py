"""The API client of every component: verbs, informers, events, leader election.

This room imports ``control.api`` only. Start reading with ``rest.py`` (the verbs), then
``informer.py`` (a local copy of a collection) and ``cache.py`` (its pure core).

async with Client.from_kubeconfig(path) as client:
    pods = Informer(client, kinds.POD, field_selector="spec.nodeName=node1")
    pods.subscribe(lambda old, new: ...)
    await pods.run()
"""

from control.client.election import LeaderElector, Timing
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.events import EventRecorder, reference
from control.client.informer import Informer
from control.client.kubeconfig import ClientConfig, Credentials, KubeconfigError
from control.client.rest import Client, Listing
from control.client.stream import Bookmark, ObjectEvent, UnreadableEvent

__all__ = [
    "ApiError",
    "Bookmark",
    "Client",
    "ClientConfig",
    "ClientError",
    "Credentials",
    "EventRecorder",
    "Informer",
    "KubeconfigError",
    "LeaderElector",
    "Listing",
    "ObjectEvent",
    "Timing",
    "UnreachableError",
    "UnreadableEvent",
    "reference",
]
