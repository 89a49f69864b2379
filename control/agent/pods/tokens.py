"""Tokens of a Pod's ServiceAccount, kept until they are nearly over.

Source: k8s.io/kubernetes/pkg/kubelet/token (token_manager.go)
"""

from collections.abc import Callable
from dataclasses import dataclass

from control.agent.pods.payload import TokenRequest
from control.api import kinds
from control.api.pod import Pod
from control.api.times import parse_time
from control.client import Client

_USED_PART = 0.8  # of its life, after which a token is renewed
_LONGEST = 24 * 3600.0
_ACCOUNT = "default"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renewed: float  # the time from which on it is renewed


class Tokens:
    """The tokens of one Pod."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[TokenRequest, _Token] = {}

    async def get(self, pod: Pod, wanted: TokenRequest) -> str:
        """Return a token that is bound to the Pod; raises ClientError."""
        kept = self._kept.get(wanted)
        if kept is None or kept.renewed <= self._clock():
            kept = self._kept[wanted] = await self._request(pod, wanted)
        return kept.text

    async def _request(self, pod: Pod, wanted: TokenRequest) -> _Token:
        """Request a token by the TokenRequest API."""
        metadata = pod.metadata
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata.name, "uid": metadata.uid}
        spec = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.seconds,
            "boundObjectRef": bound,
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        name = pod.spec.service_account_name or _ACCOUNT
        begin = self._clock()
        answer = await self._client.post(
            kinds.SERVICE_ACCOUNT, metadata.namespace, name, "token", body
        )
        end = parse_time(answer["status"].get("expirationTimestamp"))
        life = end.timestamp() - begin if end else float(wanted.seconds)
        return _Token(str(answer["status"]["token"]), begin + min(_USED_PART * life, _LONGEST))
