"""The API client of every part: verbs, informers, events, leader election.

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
from control.client.stream import Bookmark, Change, Unreadable

__all__ = [
    "ApiError",
    "Bookmark",
    "Change",
    "Client",
    "ClientConfig",
    "ClientError",
    "Credentials",
    "EventRecorder",
    "Informer",
    "KubeconfigError",
    "LeaderElector",
    "Listing",
    "Timing",
    "UnreachableError",
    "Unreadable",
    "reference",
]
