"""Authorize requests: every authenticated user may do everything, so far.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from dataclasses import dataclass

from control.server.wire.errors import forbidden
from control.server.wire.info import RequestInfo
from control.server.wire.request import User


@dataclass(frozen=True, slots=True)
class AccessAttributes:
    """An action for which a user needs permission; ``path`` is set for one on no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def authorize(user: User, attributes: AccessAttributes) -> bool:
    """Return True if the user may do what ``attributes`` describe."""
    del attributes
    return not user.anonymous


def check(user: User, info: RequestInfo) -> None:
    """Refuse a request on a kind that the user may not make; raises StatusError (403)."""
    kind = info.kind
    names = (kind.group, kind.plural, info.subresource, info.namespace, info.name)
    if authorize(user, AccessAttributes(info.verb, *names)):
        return
    resource = f"{kind.plural}/{info.subresource}" if info.subresource else kind.plural
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    why = (
        f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group'
        f' "{kind.group}" {where}'
    )
    raise forbidden(kind, info.name, why)
