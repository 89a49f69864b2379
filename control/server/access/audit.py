"""The audit log: who asked for what, when, and with which answer, as a policy selects it.

An event is a line of JSON, an ``audit.k8s.io/v1`` Event. Source:
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/ and
https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
"""

import logging
import random
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct, field

from control.api.times import rfc3339_micro
from control.server.access.attributes import AccessAttributes
from control.server.access.authn import ANONYMOUS
from control.server.wire.body import Body
from control.server.wire.request import User

_API = ("audit.k8s.io/v1", "Policy")
_LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_MANY = 1000  # files that were put aside, if their number is not limited
Sink = Callable[[bytes], None]
# The header that names a request's event; a client may choose the name.
AUDIT_ID = "Audit-Id"


def audit_id(given: str) -> str:
    """Return the name of a request's event: the client's, if it is plain text, else a new one."""
    if given and given.isascii() and given.isprintable():
        return given
    # A UUID (RFC 9562, 5.4), without the object of it; it names an event, and keeps no secret.
    bits = random.getrandbits(128) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class AuditPolicyError(ValueError):
    """An unusable audit policy or log; the message names the file and the cause."""


class AuditRule(Struct, frozen=True):
    """A rule of a policy; what is empty fits every request."""

    level: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    omitted: frozenset[str] = frozenset()

    def fits(self, user: User, asked: AccessAttributes) -> bool:
        """Return True if the rule is about this request."""
        if self.users and user.name not in self.users:
            return False
        if self.groups and not set(self.groups) & set(user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if not (self.resources or self.namespaces or self.paths):
            return True
        return self._fits_path(asked.path) if asked.path else self._fits_object(asked)

    def _fits_path(self, path: str) -> bool:
        return any(
            one in ("*", path) or (one.endswith("*") and path.startswith(one[:-1]))
            for one in self.paths
        )

    def _fits_object(self, asked: AccessAttributes) -> bool:
        if self.paths or (self.namespaces and asked.namespace not in self.namespaces):
            return False
        sub = asked.subresource
        whole = f"{asked.resource}/{sub}" if sub else asked.resource
        wanted = {whole, "*", f"{asked.resource}/*", f"*/{sub}" if sub else whole}
        return not self.resources or any(
            group == asked.group
            and (not names or asked.name in names)
            and (not resources or wanted & set(resources))
            for group, resources, names in self.resources
        )


_NO_RULE = AuditRule("None")


class AuditPolicy(Struct, frozen=True):
    """The rules, of which the first that fits decides."""

    rules: tuple[AuditRule, ...]

    def of(self, user: User, asked: AccessAttributes) -> AuditRule:
        """Return the rule of a request; its level is None if no rule fits."""
        return next((rule for rule in self.rules if rule.fits(user, asked)), _NO_RULE)


class AuditEntry(Struct):
    """What the log says of one request; filled as it becomes known."""

    log: "AuditLog"
    uri: str
    source: str
    agent: str
    id: str
    received: datetime = field(default_factory=lambda: datetime.now(UTC))
    user: User = ANONYMOUS
    impersonated: User | None = None
    asked: AccessAttributes | None = None
    version: str = ""
    rule: AuditRule = _NO_RULE
    body: Body | None = None
    annotations: dict[str, str] = field(default_factory=dict)  # of admission

    def begin(self, acting: User, asked: AccessAttributes, version: str = "") -> None:
        """Note what the user asks for, as whom; write the stage RequestReceived."""
        self.asked, self.version = asked, version
        self.impersonated = acting if acting is not self.user else None
        self.rule = self.log.policy.of(self.user, asked)
        self.write("RequestReceived")

    def complete(self, code: int, answer: bytes = b"") -> None:
        """Write the last stage; ``answer`` is JSON, or empty."""
        if self.asked is None:  # refused before anybody knew what it asks for
            self.asked = AccessAttributes("", path=self.uri.partition("?")[0])
            self.rule = self.log.policy.of(self.user, self.asked)
        self.write("ResponseComplete", code, answer)

    def write(self, stage: str, code: int = 0, answer: bytes = b"") -> None:
        """Write a stage, if the policy wants it."""
        if self.rule.level == "None" or stage in self.rule.omitted or self.asked is None:
            return
        made = self._event(stage, self.asked)
        if code:
            made["responseStatus"] = {"metadata": {}, "code": code}
        if code and self.rule.level in ("Request", "RequestResponse"):
            made |= self._request_object(code)
        if answer and self.rule.level == "RequestResponse":
            made["responseObject"] = orjson.Fragment(answer)
        self.log.sink(orjson.dumps(made))

    def _event(self, stage: str, asked: AccessAttributes) -> dict[str, Any]:
        made: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self.rule.level,
            "auditID": self.id,
            "stage": stage,
            "requestURI": self.uri,
            "verb": asked.verb,
            "user": self.user.wire(),
            "sourceIPs": [self.source],
            "userAgent": self.agent,
            "requestReceivedTimestamp": rfc3339_micro(self.received.timestamp()),
            "stageTimestamp": rfc3339_micro(datetime.now(UTC).timestamp()),
        }
        if self.impersonated is not None:
            made["impersonatedUser"] = self.impersonated.wire()
        if self.annotations:
            made["annotations"] = self.annotations
        if asked.resource:
            made["objectRef"] = self._reference(asked)
        return made

    def _reference(self, asked: AccessAttributes) -> dict[str, str]:
        found = {
            "resource": asked.resource,
            "namespace": asked.namespace,
            "name": asked.name,
            "apiGroup": asked.group,
            "apiVersion": self.version,
            "subresource": asked.subresource,
        }
        return {name: value for name, value in found.items() if value}

    def _request_object(self, code: int) -> dict[str, Any]:
        """Return the body; one that was computed elsewhere is good JSON if it was taken."""
        body = self.body
        if body is None or body.empty:
            return {}
        if body.value is not None:
            return {"requestObject": body.value}
        taken = code < 400 and "json" in body.media_type
        return {"requestObject": orjson.Fragment(body.text)} if taken else {}


class AuditLog(Struct, frozen=True):
    """A policy, and where its events go, a line each."""

    policy: AuditPolicy
    sink: Sink


def load_policy(path: Path) -> AuditPolicy:
    """Read a policy (YAML); raises AuditPolicyError."""
    import yaml  # 0.6 MB that a server without a policy does not need

    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise AuditPolicyError(f"audit policy {path}: {err}") from err
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != _API:
        raise AuditPolicyError(f"audit policy {path}: want apiVersion {_API[0]}, kind {_API[1]}")
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        raise AuditPolicyError(f"audit policy {path}: rules: want at least one")
    omitted = _texts(path, document, "omitStages")
    return AuditPolicy(tuple(_rule(path, rule, omitted) for rule in rules))


def _rule(path: Path, rule: Any, omitted: tuple[str, ...]) -> AuditRule:
    if not isinstance(rule, dict) or rule.get("level") not in _LEVELS:
        raise AuditPolicyError(f"audit policy {path}: level: want one of {', '.join(_LEVELS)}")
    stages = frozenset((*omitted, *_texts(path, rule, "omitStages")))
    if unknown := sorted(stages - set(STAGES)):
        raise AuditPolicyError(f"audit policy {path}: omitStages: there is no {unknown[0]}")
    resources = []
    for each in rule.get("resources") or ():
        if not isinstance(each, dict):
            raise AuditPolicyError(f"audit policy {path}: resources: want objects with a group")
        names = _texts(path, each, "resources"), _texts(path, each, "resourceNames")
        resources.append((str(each.get("group") or ""), *names))
    return AuditRule(
        rule["level"],
        _texts(path, rule, "users"),
        _texts(path, rule, "userGroups"),
        _texts(path, rule, "verbs"),
        tuple(resources),
        _texts(path, rule, "namespaces"),
        _texts(path, rule, "nonResourceURLs"),
        stages,
    )


def _texts(path: Path, where: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = where.get(name) or ()
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise AuditPolicyError(f"audit policy {path}: {name}: want a list of text")
    return tuple(found)


class AuditFile:
    """A file of lines; a full one is put aside."""

    def __init__(self, path: str, megabytes: int = 0, kept: int = 0) -> None:
        """Put a file of ``megabytes`` aside, and keep ``kept`` of those; 0 stands for no limit.

        Raises AuditPolicyError if the file cannot be opened.
        """
        try:
            self._file = RotatingFileHandler(
                path, maxBytes=megabytes << 20, backupCount=kept or _MANY
            )
        except OSError as err:
            raise AuditPolicyError(f"audit log {path}: {err.strerror}") from err
        self._file.handleError = _report  # type: ignore[method-assign]

    def __call__(self, line: bytes) -> None:
        """Write a line; one that cannot be written is reported in the server's log."""
        self._file.emit(logging.LogRecord("", logging.INFO, "", 0, line.decode(), None, None))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def print_line(line: bytes) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()


def _report(record: logging.LogRecord) -> None:
    del record
    logging.getLogger(__name__).error("an audit event is lost: %s", sys.exc_info()[1])
