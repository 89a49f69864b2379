"""The objects that a new lab has besides those of every cluster: what makes volumes for claims.

They are written once: what a user changes or deletes stays so.
"""

import asyncio
from pathlib import Path

from control.agent.volumes.plan import PROVISIONER
from control.api import kinds
from control.api.meta import Object
from control.api.persistent import DEFAULT_CLASSES, DELAYED, StorageClass
from control.api.rbac import ClusterRoleBinding
from control.client import ApiError, Client, ClientError, UnreachableError
from control.client.backoff import Backoff
from lab.credentials import VOLUME_USER

_SECONDS = 60.0
_STARTING = 503
CLASS = "standard"  # as in kind and minikube
_ROLE = "system:persistent-volume-provisioner"


def install(kubeconfig: Path) -> None:
    """Create the objects as soon as the API server answers; raises ClientError."""
    try:
        asyncio.run(_install(kubeconfig))
    except TimeoutError as err:
        text = (
            f"the API server did not answer for {_SECONDS:.0f} s; see: podwire lab logs apiserver"
        )
        raise ClientError(text) from err


async def _install(kubeconfig: Path) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client, asyncio.timeout(_SECONDS):
        for kind, item in _objects():
            await _create(client, kind, item)


async def _create(client: Client, kind: kinds.Kind, item: Object) -> None:
    pause = Backoff()
    while True:
        try:
            await client.create(kind, item)
        except UnreachableError:
            await asyncio.sleep(pause.next())
        except ApiError as err:
            if err.code != _STARTING:
                if not err.already_exists:
                    raise
                return
            await asyncio.sleep(pause.next())
        else:
            return


def _objects() -> tuple[tuple[kinds.Kind, Object], ...]:
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": VOLUME_USER},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _ROLE},
        "subjects": [{"apiGroup": group, "kind": "User", "name": VOLUME_USER}],
    }
    made = {
        "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASSES[0]: "true"}},
        "provisioner": PROVISIONER,
        "volumeBindingMode": DELAYED,
    }
    return (
        (kinds.CLUSTER_ROLE_BINDING, ClusterRoleBinding.parse(binding)),
        (kinds.STORAGE_CLASS, StorageClass.parse(made)),
    )
