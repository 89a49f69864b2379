"""Validation of Events: ``v1`` takes nearly all, ``events.k8s.io/v1`` is strict. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation/events.go. Both name the fields of ``v1``.
"""

from typing import Any

from control.api import field
from control.api.cluster import Event
from control.api.field import FieldError
from control.api.times import parse_time
from control.api.validation import text
from control.api.validation.meta import immutable, invalid_each

_WORD_MAX, _MESSAGE_MAX = 128, 1024
_FEWEST = 2  # repetitions that are a series
_UNSET = ("first_timestamp", "last_timestamp", "count", "source")
_FIXED = (
    "involved_object",
    "reason",
    "message",
    "source",
    "first_timestamp",
    "last_timestamp",
    "count",
    "reason",
    "type",
)
_FIXED_LATER = ("action", "related", "reporting_component", "reporting_instance")
_NAMES = {
    "involved_object": "involvedObject",
    "first_timestamp": "firstTimestamp",
    "last_timestamp": "lastTimestamp",
    "reporting_component": "reportingController",
    "reporting_instance": "reportingInstance",
}


def validate_event(event: Event) -> list[FieldError]:
    """Check that an Event is in its object's namespace, and what those with a time have to say."""
    return _basic(event, "reportingComponent")


def validate_new_reported(event: Event) -> list[FieldError]:
    """Check a new Event of ``events.k8s.io/v1``."""
    found = _basic(event, "reportingController") + _series(event)
    if event.event_time is None:
        found.append(field.required("eventTime"))
    if event.type not in ("Normal", "Warning"):
        found.append(field.invalid("type", "", f"has invalid value: {event.type or ''}"))
    for name in _UNSET:
        given = getattr(event, name)
        if given and given != type(given)():
            found.append(field.invalid(_NAMES.get(name, name), "", "needs to be unset"))
    return found


def validate_reported_update(event: Event, old: Event) -> list[FieldError]:
    """Check the next version of an Event, by ``events.k8s.io/v1``: only its series changes."""
    found = _basic(event, "reportingController")
    if event.series != old.series:
        found += _series(event)
    found += _changed(event, old, _FIXED)
    if _microseconds(event.event_time) != _microseconds(old.event_time):
        found += immutable("eventTime", event.event_time, old.event_time)
    return found + _changed(event, old, _FIXED_LATER)


def _changed(event: Event, old: Event, names: tuple[str, ...]) -> list[FieldError]:
    return [
        error
        for name in names
        for error in immutable(_NAMES.get(name, name), getattr(event, name), getattr(old, name))
    ]


def _microseconds(time: str | None) -> Any:
    return parse_time(time) if time else None


def _series(event: Event) -> list[FieldError]:
    series, found = event.series, []
    if series is None:
        return []
    if (series.get("count") or 0) < _FEWEST:
        found.append(field.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(field.required("series.lastObservedTime"))
    return found


def _basic(event: Event, controller: str) -> list[FieldError]:
    """Check what every Event has to be; ``controller`` is the name of who reports."""
    own, involved = event.metadata.namespace or "", event.involved_object.namespace or ""
    if event.event_time is not None:
        wrong = not involved and own not in ("default", "kube-system")
    else:
        wrong = own != (involved or "default")
    why = "does not match event.namespace"
    found = [field.invalid("involvedObject.namespace", involved, why)] if wrong else []
    return found + (_reported(event, controller) if event.event_time is not None else [])


def _reported(event: Event, controller: str) -> list[FieldError]:
    by = event.reporting_component or ""
    found = [] if by else [field.required(controller)]
    found += invalid_each(controller, by, text.qualified_name(by))
    words = {"reportingInstance": event.reporting_instance, "action": event.action}
    for name, value in (words | {"reason": event.reason}).items():
        if not value:
            found.append(field.required(name))
        elif len(value.encode()) > _WORD_MAX:
            found.append(field.invalid(name, "", f"can have at most {_WORD_MAX} characters"))
    if len((event.message or "").encode()) > _MESSAGE_MAX:
        found.append(field.invalid("message", "", f"can have at most {_MESSAGE_MAX} characters"))
    return found
