"""core/v1 ResourceQuota: how much all objects of a namespace may use together."""

from collections.abc import Iterator

from pydantic import Field

from control.api.base import Model
from control.api.meta import Object

Hard = dict[str, str | int | float]
EXISTS, ABSENT, IN, NOT_IN = "Exists", "DoesNotExist", "In", "NotIn"


class ScopeRequirement(Model):
    """A scope, and for some scopes the values that it needs."""

    scope_name: str = ""
    operator: str = ""
    values: list[str] = []


class ScopeSelector(Model):
    """Requirements that all hold for the objects that a quota counts."""

    match_expressions: list[ScopeRequirement] = []


class ResourceQuotaSpec(Model):
    """The most of each resource, and which objects count."""

    hard: Hard = {}
    scopes: list[str] = []
    scope_selector: ScopeSelector | None = None

    def requirements(self) -> Iterator[ScopeRequirement]:
        """Yield all scopes."""
        for name in self.scopes:
            yield ScopeRequirement(scope_name=name, operator=EXISTS)
        if self.scope_selector is not None:
            yield from self.scope_selector.match_expressions


class ResourceQuotaStatus(Model):
    """The limits that are in force, and what is used of them."""

    hard: Hard = {}
    used: Hard = {}


class ResourceQuota(Object):
    """core/v1 ResourceQuota."""

    spec: ResourceQuotaSpec = Field(default_factory=ResourceQuotaSpec)
    status: ResourceQuotaStatus = Field(default_factory=ResourceQuotaStatus)
