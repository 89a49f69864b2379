"""Check CustomResourceDefinitions. Pure.

Source: pkg/apis/apiextensions/validation/validation.go of k8s.io/apiextensions-apiserver.
"""

from collections.abc import Mapping
from typing import Any

from control.api import field
from control.api.cluster import CustomResourceDefinition as Definition
from control.api.custom.structure import schema_errors, selectable_errors
from control.api.field import FieldError
from control.api.validation.meta import immutable, invalid_each
from control.api.validation.stored.webhooks import client_errors, version_errors
from control.api.validation.text import dns_1035_label, dns_subdomain

Wire = Mapping[str, Any]
_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = (
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
)
_APPROVED = "api-approved.kubernetes.io"
_UNAPPROVED = f'protected groups must have approval annotation "{_APPROVED}"'
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_PROTECTED = ("k8s.io", "kubernetes.io")
_WARNING_MAX = 256
# The parts of a version, and where upstream's errors find those that all versions share.
_PARTS = {
    "schema": "spec.validation",
    "subresources": "spec.subresources",
    "additionalPrinterColumns": "spec.additionalPrinterColumns",
    "selectableFields": "spec.selectableFields",
}


def validate(definition: Definition) -> list[FieldError]:
    """Return the errors of a definition, new or not."""
    spec, status = definition.spec, definition.status
    names = spec["names"]
    found = []
    if definition.metadata.name != f"{names['plural']}.{spec['group']}":
        why = 'must be spec.names.plural+"."+spec.group'
        found.append(field.invalid("metadata.name", definition.metadata.name, why))
    found += _spec(spec)
    found += _stored(status.get("storedVersions") or [], spec["versions"])
    found += _approval(spec["group"], definition.metadata.annotations)
    return found


def validate_update(new: Definition, old: Definition) -> list[FieldError]:
    """Return the errors of what may not change: names of the resource, of an established kind."""
    after, before = new.spec, old.spec
    found = []
    if is_true(old.status, "Established"):
        found += immutable("spec.scope", after["scope"], before["scope"])
        found += immutable("spec.names.kind", after["names"]["kind"], before["names"]["kind"])
    found += immutable("spec.group", after["group"], before["group"])
    plural = after["names"]["plural"], before["names"]["plural"]
    return found + immutable("spec.names.plural", *plural)


def is_true(status: Wire, condition: str) -> bool:
    """Return True if a condition of a definition's status is true."""
    given = status.get("conditions") or ()
    return any(each["type"] == condition and each["status"] == "True" for each in given)


def _spec(spec: Wire) -> list[FieldError]:
    found = _group(spec["group"])
    if not spec["scope"]:
        found.append(field.required("spec.scope"))
    elif spec["scope"] not in _SCOPES:
        found.append(field.not_supported("spec.scope", spec["scope"], _SCOPES))
    found += _versions(spec["versions"])
    for name in ("plural", "singular", "kind", "listKind"):
        if not spec["names"].get(name):
            found.append(field.required(f"spec.names.{name}"))
    found += _names(spec["names"], "spec.names") + _shared_errors(spec["versions"])
    if spec.get("conversion") is not None:
        found += _conversion(spec["conversion"])
    if spec.get("preserveUnknownFields"):
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in"
            " spec.versions[*].schema instead"
        )
        found.append(field.invalid("spec.preserveUnknownFields", True, why))
    return found


def _group(group: str) -> list[FieldError]:
    if not group:
        return [field.required("spec.group")]
    if wrong := dns_subdomain(group):
        return [field.invalid("spec.group", group, ",".join(wrong))]
    if "." not in group:
        return [field.invalid("spec.group", group, "should be a domain with at least one dot")]
    return []


def _shared(versions: list[Wire]) -> set[str]:
    """Return the parts that are the same in all versions: upstream checks them once."""
    return {
        part
        for part in _PARTS
        if versions and all(each.get(part) == versions[0].get(part) for each in versions)
    }


def _has_status(version: Wire) -> bool:
    return (version.get("subresources") or {}).get("status") is not None


def _shared_errors(versions: list[Wire]) -> list[FieldError]:
    """Return the errors of the parts that all versions share."""
    if not (shared := _shared(versions)):
        return []
    where = {part: path for part, path in _PARTS.items() if part in shared}
    return _part_errors(versions[0], where, has_status=any(map(_has_status, versions)))


def _versions(versions: list[Wire]) -> list[FieldError]:
    found, shared = list[FieldError](), _shared(versions)
    for at, version in enumerate(versions):
        path = f"spec.versions[{at}]"
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            found.append(field.required(f"{path}.schema.openAPIV3Schema"))
        if wrong := dns_1035_label(version["name"]):
            found.append(field.invalid(f"{path}.name", version["name"], ",".join(wrong)))
        own = {part: f"{path}.{part}" for part in _PARTS if part not in shared}
        found += _deprecation(version, f"{path}.deprecationWarning")
        found += _part_errors(version, own, has_status=_has_status(version))
    shown = [each["name"] for each in versions]
    if len(set(shown)) < len(shown):
        found.append(field.invalid("spec.versions", shown, "must contain unique version names"))
    if sum(1 for each in versions if each["storage"]) != 1:
        why = "must have exactly one version marked as storage version"
        found.append(field.invalid("spec.versions", shown, why))
    if versions and (wrong := dns_1035_label(shown[0])):
        found.append(field.invalid("spec.version", shown[0], ",".join(wrong)))
    return found


def _part_errors(version: Wire, where: Mapping[str, str], *, has_status: bool) -> list[FieldError]:
    """Return the errors of some parts of a version; ``where`` has their paths."""
    found = list[FieldError]()
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    if schema and (path := where.get("schema")):
        found += schema_errors(schema, f"{path}.openAPIV3Schema", has_status=has_status)
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None and (path := where.get("subresources")):
        found += _scale(scale, f"{path}.scale")
    if path := where.get("additionalPrinterColumns"):
        for at, column in enumerate(version.get("additionalPrinterColumns") or ()):
            found += _column(column, f"{path}[{at}]")
    if (fields := version.get("selectableFields")) and (path := where.get("selectableFields")):
        found += selectable_errors(fields, schema, path)
    return found


def _deprecation(version: Wire, path: str) -> list[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    found = []
    if not version.get("deprecated"):
        found.append("can only be set for deprecated versions")
    elif len(warning) > _WARNING_MAX:
        found.append(f"must be <= {_WARNING_MAX} characters long")
    elif not warning:
        found.append("must not be an empty string")
    elif not warning.isprintable():
        at = next(at for at, sign in enumerate(warning) if not sign.isprintable())
        found.append(
            "must only contain printable UTF-8 characters;"
            f" non-printable character found at index {at}"
        )
    return invalid_each(path, warning, found)


def _names(names: Wire, path: str) -> list[FieldError]:
    found = []
    for name in ("plural", "singular"):
        if (given := names.get(name)) and (wrong := dns_1035_label(given)):
            found.append(field.invalid(f"{path}.{name}", given, ",".join(wrong)))
    for name in ("kind", "listKind"):
        if (given := names.get(name)) and (wrong := dns_1035_label(given.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            found.append(field.invalid(f"{path}.{name}", given, why))
    if names.get("kind") and names["kind"] == names.get("listKind"):
        why = "kind and listKind may not be the same"
        found.append(field.invalid(f"{path}.listKind", names["listKind"], why))
    for name in ("shortNames", "categories"):
        for at, each in enumerate(names.get(name) or ()):
            if wrong := dns_1035_label(each):
                found.append(field.invalid(f"{path}.{name}[{at}]", each, ",".join(wrong)))
    return found


def _conversion(conversion: Wire) -> list[FieldError]:
    """Check the conversion between versions."""
    path, strategy = "spec.conversion", conversion.get("strategy") or ""
    webhook, found = conversion.get("webhook") or {}, list[FieldError]()
    if not strategy:
        found.append(field.required(f"{path}.strategy"))
    elif strategy not in ("None", "Webhook"):
        found.append(field.not_supported(f"{path}.strategy", strategy, ("None", "Webhook")))
    client, where = webhook.get("clientConfig"), f"{path}.webhookClientConfig"
    versions, shown = webhook.get("conversionReviewVersions"), f"{path}.conversionReviewVersions"
    if strategy != "Webhook":
        why = "should not be set when strategy is not set to Webhook"
        return found + [
            field.forbidden(each, why)
            for each, given in ((where, client is not None), (shown, versions))
            if given
        ]
    if client is None:
        found.append(field.required(where, "required when strategy is set to Webhook"))
    else:
        found += client_errors(client, where)
    return found + (list(version_errors(versions, shown)) if versions else [field.required(shown)])


def _stored(stored: list[str], versions: list[Wire]) -> list[FieldError]:
    path = "status.storedVersions"
    if not stored:
        return [field.invalid(path, stored, "must have at least one stored version")]
    named = {each["name"] for each in versions}
    found = [
        field.invalid(path, stored, f"must have the storage version {each['name']}")
        for each in versions
        if each["storage"] and each["name"] not in stored
    ]
    for at, name in enumerate(stored):
        if name not in named:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must"
                " remain in spec.versions until a storage migration ensures no data remains"
                f" persisted in {name} and removes {name} from status.storedVersions"
            )
            found.append(field.invalid(f"{path}[{at}]", name, why))
    return found


def _scale(scale: Wire, path: str) -> list[FieldError]:
    found = []
    for name, part in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        here, given = f"{path}.{name}", scale[name]
        if not given:
            found.append(field.required(here))
        elif wrong := simple_path(given, here):
            found += wrong
        elif not given.startswith(part):
            why = f"should be a json path under {part[:-1]}"
            found.append(field.invalid(here, given, why))
    if given := scale.get("labelSelectorPath"):
        here = f"{path}.labelSelectorPath"
        wrong = simple_path(given, here)
        if not wrong and not given.startswith((".spec.", ".status.")):
            why = "should be a json path under either .spec or .status"
            wrong = [field.invalid(here, given, why)]
        found += wrong
    return found


def simple_path(path: str, where: str) -> list[FieldError]:
    """Check the start of a path into an object."""
    if not path.startswith("."):
        return [field.invalid(where, path, "must be a simple json path starting with .")]
    return []


def _column(column: Wire, path: str) -> list[FieldError]:
    found = []
    if not column["name"]:
        found.append(field.required(f"{path}.name"))
    known = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not column["type"]:
        found.append(field.required(f"{path}.type", known))
    elif column["type"] not in _COLUMN_TYPES:
        found.append(field.invalid(f"{path}.type", column["type"], known))
    if (given := column.get("format")) and given not in _COLUMN_FORMATS:
        why = f"must be one of {','.join(_COLUMN_FORMATS)}"
        found.append(field.invalid(f"{path}.format", given, why))
    if not column["jsonPath"]:
        return [*found, field.required(f"{path}.JSONPath")]
    return found + simple_path(column["jsonPath"], f"{path}.JSONPath")


def _approval(group: str, annotations: Mapping[str, str]) -> list[FieldError]:
    """Groups of the Kubernetes community need an approval."""
    if not any(group == each or group.endswith(f".{each}") for each in _PROTECTED):
        return []
    path, given = f"metadata.annotations[{_APPROVED}]", annotations.get(_APPROVED, "")
    if not given:
        return [field.required(path, f"{_UNAPPROVED}, {_SEE}")]
    if given.startswith(("unapproved", "https://", "http://")):
        return []
    why = 'with either a URL or a reason starting with "unapproved"'
    return [field.invalid(path, given, f"{_UNAPPROVED} {why}, {_SEE}")]
