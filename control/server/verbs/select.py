"""Select the objects of a collection by label and field selectors. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from msgspec import Struct, field

from control.api.kinds import EVENT_FORM, Kind
from control.api.selectors import (
    FieldRequirement,
    Fields,
    Labels,
    SelectorError,
    parse_fields,
    parse_labels,
)
from control.api.types.table import message_name, type_of
from control.server.state.strides import strides
from control.server.wire import errors
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest

# The selectable fields besides name and namespace (upstream's GetAttrs of each kind).
_SELECTABLE = {
    "Pod": {
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    },
    "Event": {
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    },
    "Service": {"spec.clusterIP", "spec.type"},
    "Node": {"spec.unschedulable"},
    "Namespace": {"status.phase"},
    "Secret": {"type"},
    "ReplicationController": {"status.replicas"},
    "Job": {"status.successful"},
    "CertificateSigningRequest": {"spec.signerName"},
    "ResourceSlice": {"spec.nodeName", "spec.driver"},
}
# Those of a form, by its own names.
_OF_FORMS: Mapping[Kind, AbstractSet[str]] = {
    EVENT_FORM: {
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    },
}
_NAME = "metadata.name"
_ALWAYS = {_NAME, "metadata.namespace"}
# How two kinds say that a field cannot be selected.
_OTHERWISE = {
    "Job": 'field label "{}" not supported for Job',
    "ResourceSlice": "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}",
}
# Where the value of a field label is, if not at the path of its name: first choice and second.
_ELSEWHERE = {("Event", "source"): ("source.component", "reportingComponent")}
# The text of the zero of a field's type, as Go's ToSelectableFields writes it.
_ZEROS = {"b": "false", "i": "0", "l": "0"}


class Selection(Struct, frozen=True):
    """Label and field conditions; without any, everything matches."""

    labels: Labels = field(default_factory=Labels)
    fields: Fields = field(default_factory=Fields)
    name: str = ""  # the name that the field selector requires, if any

    @property
    def everything(self) -> bool:
        """True if there is no condition."""
        return not self.labels.requirements and not self.fields.requirements

    def matches(self, item: Item) -> bool:
        """Return True if an object meets all conditions."""
        if self.everything:
            return True
        if self.name and not item.key.endswith(f"/{self.name}"):
            return False  # saves decoding the object
        if self.labels.requirements and not self.labels.matches(item.labels):
            return False
        return not self.fields.requirements or self.fields.matches(item.wire)

    async def choose(self, items: list[Item]) -> list[Item]:
        """Return the matching items, in order; others run in between."""
        if self.everything:
            return items
        found: list[Item] = []
        async for group in strides(items):
            found += filter(self.matches, group)
        return found

    def filter(self, items: Iterable[Item]) -> Iterator[Item]:
        """Return the matching items, in order."""
        return iter(items) if self.everything else filter(self.matches, items)


def selection(request: ApiRequest) -> Selection:
    """Parse the selectors in a request's query; raises StatusError (400)."""
    try:
        labels = parse_labels(request.query.get("labelSelector", ""))
        fields = parse_fields(request.query.get("fieldSelector", ""))
    except SelectorError as err:
        raise errors.bad_request(str(err)) from err
    fields = _of_kind(request.info.kind, _of_name(request.info.name, fields))
    names = (r.value for r in fields.requirements if r.path == _NAME and r.equal)
    return Selection(labels, fields, next(names, ""))


def _of_name(name: str, fields: Fields) -> Fields:
    """Return the selector of one object if the path names it; raises StatusError (400)."""
    if not name:
        return fields
    given = [each.value for each in fields.requirements if each.path == _NAME and each.equal]
    if fields.requirements and given[:1] != [name]:
        raise errors.bad_request("fieldSelector metadata.name doesn't match requested name")
    return fields if given else Fields((FieldRequirement(_NAME, name),))


def _of_kind(kind: Kind, fields: Fields) -> Fields:
    """Return the selector with the zeros of its fields; raises StatusError (400)."""
    known = _ALWAYS | _selectable(kind)
    for requirement in fields.requirements:
        if requirement.path not in known:
            raise errors.bad_request(_not_known(kind, requirement.path))
    return Fields(tuple(_with_zero(kind, requirement) for requirement in fields.requirements))


def _not_known(kind: Kind, path: str) -> str:
    if kind.custom is not None:
        return f"field label not supported: {path}"
    if _selectable(kind):
        return _OTHERWISE.get(kind.name, "field label not supported: {}").format(path)
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _selectable(kind: Kind) -> AbstractSet[str]:
    if kind.custom is not None:
        return kind.custom.selectable.keys()
    if kind.form is not None:
        return _OF_FORMS.get(kind, set())
    return _SELECTABLE.get(kind.name, set())


def _with_zero(kind: Kind, requirement: FieldRequirement) -> FieldRequirement:
    if kind.custom is not None or requirement.path in _ALWAYS:
        return requirement
    path, instead = _ELSEWHERE.get((kind.name, requirement.path), (requirement.path, ""))
    zero = _ZEROS.get(type_of(message_name(kind.group, kind.name, kind.version), path), "")
    return replace(requirement, path=path, instead=instead, zero=zero)
