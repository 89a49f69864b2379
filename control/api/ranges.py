"""networking.k8s.io/v1 ServiceCIDR and IPAddress: the addresses of Services.

Source: KEP-1880
"""

from pydantic import Field

from control.api.base import Model
from control.api.meta import Condition, Object

FAMILY, MANAGED_BY = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
DEFAULT_RANGE = "kubernetes"
READY = "Ready"
PROTECTION = "networking.k8s.io/service-cidr-finalizer"


class ServiceRangeSpec(Model):
    """One range, or one of each family."""

    cidrs: list[str] = Field(default_factory=list)


class ServiceRangeStatus(Model):
    """Whether addresses are taken from the ranges."""

    conditions: list[Condition] = Field(default_factory=list)


class ServiceCIDR(Object):
    """Ranges of which the API server takes addresses of Services."""

    spec: ServiceRangeSpec = Field(default_factory=ServiceRangeSpec)
    status: ServiceRangeStatus = Field(default_factory=ServiceRangeStatus)


class ParentReference(Model):
    """Whom an address belongs to."""

    group: str | None = None
    resource: str | None = None
    namespace: str | None = None
    name: str | None = None


class IPAddressSpec(Model):
    """The owner of an address."""

    parent_ref: ParentReference | None = None


class IPAddress(Object):
    """One address that is taken; the object's name is the address."""

    spec: IPAddressSpec = Field(default_factory=IPAddressSpec)
