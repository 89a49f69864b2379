"""Validate the configurations of admission webhooks. Pure.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation and
k8s.io/apiserver/pkg/util/webhook/validation.go
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.stored.match import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    condition_errors,
    one_of,
    rule_errors,
    selector_errors,
)

Wire = Mapping[str, Any]
_VERSIONS = ("v1", "v1beta1")
_MUTATING = "MutatingWebhookConfiguration"
_EFFECTS = ("None", "NoneOnDryRun")
_REINVOCATIONS = ("IfNeeded", "Never")
_FORM = "; desired format: https://host[/path]"


def validate_webhooks(configuration: Object) -> list[FieldError]:
    """Check the webhooks of a configuration, new or not."""
    found, seen = list[FieldError](), set[str]()
    hooks = configuration.wire().get("webhooks") or ()
    for at, hook in enumerate(hooks):
        path, name = f"webhooks[{at}]", hook.get("name") or ""
        found += _hook_errors(hook, path, mutating=configuration.kind == _MUTATING)
        versions = hook.get("admissionReviewVersions") or []
        found += version_errors(versions, f"{path}.admissionReviewVersions")
        if name and name in seen:
            found.append(field.duplicate(f"{path}.name", name))
        seen.add(name)
    return found


def _hook_errors(hook: Wire, path: str, *, mutating: bool) -> Iterator[FieldError]:
    yield from _name_errors(hook.get("name") or "", f"{path}.name")
    for at, rule in enumerate(hook.get("rules") or ()):
        yield from rule_errors(rule, f"{path}.rules[{at}]")
    yield from one_of(f"{path}.failurePolicy", hook.get("failurePolicy"), FAILURE_POLICIES)
    yield from one_of(f"{path}.matchPolicy", hook.get("matchPolicy"), MATCH_POLICIES)
    effects = hook.get("sideEffects")
    if effects is None:
        why = f"must specify one of {', '.join(_EFFECTS)}"
        yield field.required(f"{path}.sideEffects", why)
    else:
        yield from one_of(f"{path}.sideEffects", effects, _EFFECTS)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield field.invalid(f"{path}.timeoutSeconds", seconds, why)
    for name in ("namespaceSelector", "objectSelector"):
        yield from selector_errors(hook.get(name), f"{path}.{name}")
    if mutating and (again := hook.get("reinvocationPolicy")) is not None:
        yield from one_of(f"{path}.reinvocationPolicy", again, _REINVOCATIONS)
    yield from client_errors(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    yield from condition_errors(hook.get("matchConditions") or (), f"{path}.matchConditions")


def _name_errors(name: str, path: str) -> Iterator[FieldError]:
    """Check a name with dots: IsFullyQualifiedName of apimachinery."""
    if not name:
        yield field.required(path)
        return
    if wrong := text.dns_subdomain(name):
        yield field.invalid(path, name, ", ".join(wrong))
    elif name.count(".") < 2:
        why = "should be a domain with at least three segments separated by dots"
        yield field.invalid(path, name, why)


def version_errors(versions: Sequence[str], path: str) -> Iterator[FieldError]:
    """Yield the errors of the versions of reviews that a webhook knows."""
    known = ", ".join(_VERSIONS)
    if not versions:
        yield field.required(path, f"must specify one of {known}")
        return
    seen = set()
    for at, each in enumerate(versions):
        if each in seen:
            yield field.invalid(f"{path}[{at}]", each, "duplicate version")
            continue
        seen.add(each)
        yield from invalid_each(f"{path}[{at}]", each, text.dns_1035_label(each))
    if not seen & set(_VERSIONS):
        yield field.invalid(path, list(versions), f"must include at least one of {known}")


def client_errors(client: Wire, path: str) -> Iterator[FieldError]:
    """Yield the errors of where a webhook is."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield field.required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url_errors(url, f"{path}.url")
    elif service is not None:
        yield from _service_errors(service, f"{path}.service")


def _url_errors(url: str, path: str) -> Iterator[FieldError]:
    try:
        parts = urlsplit(url)
        _ = parts.port
        if url.startswith(":"):
            raise ValueError(f"parse {field.show(url)}: missing protocol scheme")
    except ValueError as err:
        yield field.required(path, f"url must be a valid URL: {err}{_FORM}")
        return
    if parts.scheme != "https":
        why = f"'https' is the only allowed URL scheme{_FORM}"
        yield field.invalid(path, parts.scheme, why)
    user, _, host = parts.netloc.rpartition("@")
    if not host:
        yield field.invalid(path, "", f"host must be specified{_FORM}")
    if user:
        yield field.invalid(path, user, "user information is not permitted in the URL")
    if parts.fragment:
        yield field.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield field.invalid(path, parts.query, "query parameters are not permitted in the URL")


def _service_errors(service: Wire, path: str) -> Iterator[FieldError]:
    for name in ("name", "namespace"):
        if not service.get(name):
            yield field.required(f"{path}.{name}")
    port = service.get("port") or 0
    if wrong := text.port_number(port):
        yield field.invalid(f"{path}.port", port, f"port is not valid: {', '.join(wrong)}")
    given, where = service.get("path") or "/", f"{path}.path"
    if given == "/":
        return
    if given == "//":
        yield field.invalid(where, given, "segment[0] may not be empty")
        return
    if not given.startswith("/"):
        yield field.invalid(where, given, "must start with a '/'")
    for at, step in enumerate(given[1:].removesuffix("/").split("/")):
        if not step:
            yield field.invalid(where, given, f"segment[{at}] may not be empty")
            continue
        for why in text.dns_subdomain(step):
            yield field.invalid(where, given, f"segment[{at}]: {why}")
