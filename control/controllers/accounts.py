"""A client for each controller, with the token of a ServiceAccount of its own.

So each controller has only the rights that upstream's default roles give its twin. The user of the
process may read everything, and make accounts and tokens. Source: the same option of upstream's
kube-controller-manager, ``--use-service-account-credentials``, and
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self

from control.api import kinds
from control.api.cluster import ServiceAccount
from control.api.meta import ObjectMeta
from control.client import ApiError, Client, ClientError
from control.client.kubeconfig import Credentials

logger = logging.getLogger(__name__)

_NAMESPACE = "kube-system"
_SECONDS = 3600
# Much less than a token's life: an account that somebody has deleted is made again so soon.
_RENEWED = 300.0
_RETRY = 1.0
# What acts as the process itself, upstream too: it makes the others' tokens.
_OWN = ("tokens-controller",)
# The account of each component, if upstream calls it by another name.
_ACCOUNTS = {
    "beside-apiserver-endpoints-controller": "endpointslice-controller",  # podwire's own
    "certificatesigningrequest-approving-controller": "certificate-controller",
    "certificatesigningrequest-cleaner-controller": "certificate-controller",
    "certificatesigningrequest-signing-controller": "certificate-controller",
    "cidrAllocator": "node-controller",
    "cloud-node-controller": "node-controller",
    "cloud-node-lifecycle-controller": "node-controller",
    "daemonset-controller": "daemon-set-controller",
    "endpoint-slice-controller": "endpointslice-controller",
    "endpoint-slice-mirroring-controller": "endpointslicemirroring-controller",
    "ephemeral_volume": "ephemeral-volume-controller",
    "garbage-collector-controller": "generic-garbage-collector",
    "persistentvolume-controller": "persistent-volume-binder",
    "pod-garbage-collector-controller": "pod-garbage-collector",
    "service-cidr-controller": "service-cidrs-controller",
    "serviceaccount-controller": "service-account-controller",
    "taint-eviction-controller": "node-controller",
}


def account_of(component: str) -> str:
    """Return the name of a component's ServiceAccount."""
    return _ACCOUNTS.get(component, component)


@dataclass(slots=True)
class _Held:
    """The token of one account."""

    client: Client
    token: str = ""


class AccountClients:
    """The clients of a process's controllers; use it as an async context manager."""

    def __init__(self, client: Client, components: Iterable[str]) -> None:
        """``client`` makes accounts and tokens."""
        self._client = client
        self._held: dict[str, _Held] = {}
        self._stack = AsyncExitStack()
        for name in dict.fromkeys(account_of(each) for each in components if each not in _OWN):
            config = replace(client.config, credentials=self._source(name))
            self._held[name] = _Held(Client(config, client.metrics))

    def client(self, component: str) -> Client:
        """Return the client of a component."""
        if component in _OWN:
            return self._client
        return self._held[account_of(component)].client

    async def __aenter__(self) -> Self:
        """Wait for a token of each account."""
        for held in self._held.values():
            self._stack.push_async_callback(held.client.close)
        async with asyncio.TaskGroup() as tasks:
            for name in self._held:
                tasks.create_task(self._begin(name))
        renewing = asyncio.create_task(self._renew(), name="account tokens")
        self._stack.push_async_callback(_cancelled, renewing)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _source(self, name: str) -> Credentials:
        return Credentials(token_source=lambda: self._held[name].token)

    async def _begin(self, name: str) -> None:
        while True:
            try:
                await self._request(name)
            except ClientError as err:
                logger.warning("token of account %s/%s: %s", _NAMESPACE, name, err)
                await asyncio.sleep(_RETRY)
            else:
                return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWED)
            for name in self._held:
                try:
                    await self._request(name)
                except ClientError as err:
                    logger.warning("new token of account %s/%s: %s", _NAMESPACE, name, err)

    async def _request(self, name: str) -> None:
        try:
            self._held[name].token = await self._token(name)
        except ApiError as err:
            if err.code != 404:
                raise
            await self._create(name)
            self._held[name].token = await self._token(name)

    async def _token(self, name: str) -> str:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _SECONDS},
        }
        answer = await self._client.post(kinds.SERVICE_ACCOUNT, _NAMESPACE, name, "token", body)
        return str(answer["status"]["token"])

    async def _create(self, name: str) -> None:
        meta = ObjectMeta(name=name, namespace=_NAMESPACE)
        try:
            await self._client.create(kinds.SERVICE_ACCOUNT, ServiceAccount(metadata=meta))
        except ApiError as err:
            if not err.already_exists:
                raise


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
