"""Objects are read by upstream's types: wrong ones are refused, values get upstream's form."""

from typing import Any

import pytest

from control.api.kinds import CONFIG_MAP, KINDS, POD
from control.api.types.conform import conform, conform_message, zero_of
from control.api.types.scalars import WrongTypeError
from control.api.types.table import INLINE, Field, fields_of, message_name, messages
from control.api.types.unions import UNIONS

# A value that no field of the type holds, whatever else it may be.
WRONG: dict[str, Any] = {
    "s": 1,
    "i": "x",
    "l": 1.5,
    "b": "true",
    "d": "x",
    "x": "%",
    "T": "yesterday",
    "U": "2026-01-01T00:00:00Z",
    "Q": "x",
    "I": [],
}


def wrong_value(field: Field) -> Any:
    one = WRONG.get(field.type, "x")
    return [one] if field.many == "[" else {"k": one} if field.many else one


def wrong_objects(message: str, above: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Return (path, message with one wrong value) for every field that a message leads to."""
    found: list[tuple[str, Any]] = []
    for name, field in fields_of(message).items():
        if field.type in ("R", *UNIONS) or field.type in above or name == INLINE:
            continue  # a message that is a list in JSON has no field of its own
        found.append((name, {name: wrong_value(field)}))
        if field.type in messages():
            for path, value in wrong_objects(field.type, (*above, message)):
                held = [value] if field.many == "[" else {"k": value} if field.many else value
                found.append((f"{name}.{path}", {name: held}))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_wrong_type_in_any_field_is_refused(kind: Any):
    objects = wrong_objects(message_name(kind.group, kind.name, kind.version))
    assert len(objects) > 15
    for path, wire in objects:
        with pytest.raises(WrongTypeError) as refused:
            conform(kind, wire)
        shown = ".".join(reversed(refused.value.names))
        assert shown == path


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("Q", 1, "1"),
        ("Q", 0.5, "500m"),
        ("Q", "1000m", "1"),
        ("Q", "1024Mi", "1Gi"),
        ("Q", "1.5Gi", "1536Mi"),
        ("Q", "1e3", "1e3"),
        ("Q", "0.5Ki", "512"),
        ("Q", "100u", "100u"),
        ("Q", "+2", "2"),
        ("T", "2026-01-01T02:00:00.75+02:00", "2026-01-01T00:00:00Z"),
        ("U", "2026-01-01T02:00:00.750000+02:00", "2026-01-01T00:00:00.750000Z"),
        ("x", "YQ==\n", "YQ=="),
        ("I", "25%", "25%"),
        ("I", 0, 0),
    ],
)
def test_values_get_upstreams_form(field: str, given: Any, kept: Any):
    holders = {
        "Q": ("core.PodSpec", {"overhead": {"cpu": given}, "containers": []}),
        "T": ("core.ContainerStateRunning", {"startedAt": given}),
        "U": ("coordination.LeaseSpec", {"renewTime": given}),
        "x": ("core.Secret", {"data": {"k": given}, "metadata": {}}),
        "I": ("apps.RollingUpdateDeployment", {"maxSurge": given}),
    }
    message, wire = holders[field]
    made, unknown = conform_message(message, wire)
    expected = {
        "Q": {"overhead": {"cpu": kept}, "containers": []},
        "T": {"startedAt": kept},
        "U": {"renewTime": kept},
        "x": {"data": {"k": kept}, "metadata": {}},
        "I": {"maxSurge": kept},
    }[field]
    assert (made, unknown) == (expected, [])


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.000000",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.0000000Z",
        "2026-02-30T00:00:00.000000Z",
        "",
        7,
    ],
)
def test_a_micro_time_without_zone_or_fraction_is_refused(text: Any):
    with pytest.raises(WrongTypeError):
        conform_message("coordination.LeaseSpec", {"acquireTime": text})


def test_zeros_that_json_always_has_are_written():
    status, _ = conform_message("core.ContainerStatus", {"name": "c"})
    assert status == {
        "name": "c",
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "",
        "imageID": "",
    }
    assert zero_of("core.Service") == {"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}
    assert zero_of("apps.DaemonSet")["status"] == {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }


def test_zeros_of_optional_fields_are_left_out_and_those_of_pointers_kept():
    given = {
        "containers": [{"name": "c", "stdin": False, "command": [], "securityContext": {}}],
        "hostNetwork": False,
        "nodeName": "",
        "tolerations": [],
        "nodeSelector": {},
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    made, _ = conform_message("core.PodSpec", given)
    assert made == {
        "containers": [{"name": "c", "securityContext": {}, "resources": {}}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }


def test_a_null_is_a_zero():
    given = {"data": {"a": None, "b": "x"}, "metadata": None, "immutable": None}
    assert conform(CONFIG_MAP, given)[0] == {"data": {"a": "", "b": "x"}, "metadata": {}}
    made, _ = conform_message("core.PodSpec", {"containers": [None], "nodeName": None})
    assert made == {"containers": [{"name": "", "resources": {}}]}


def test_unknown_fields_are_named_and_kept_and_the_object_is_not_changed():
    given = {"spec": {"containers": [], "x": {"y": None, "z": 1}}, "metadata": {}, "status": {}}
    before = str(given)
    made, unknown = conform(POD, given)
    assert unknown == ["x"]
    assert made["spec"] == {"containers": [], "x": {"z": 1}}
    assert str(given) == before


def test_an_object_in_upstreams_form_is_returned_itself():
    given = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]
        },
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
    }
    assert conform(POD, given)[0] is given


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (
            {"spec": {"containers": [{"env": [{"value": 1}]}]}},
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value"
            " of type string",
        ),
        (
            {"spec": {"securityContext": {"fsGroup": "x"}}},
            "json: cannot unmarshal string into Go struct field"
            " PodSecurityContext.spec.securityContext.fsGroup of type int64",
        ),
        (
            {"spec": {"priority": 2**31}},
            "json: cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority"
            " of type int32",
        ),
        (
            {"spec": []},
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            {"metadata": {"labels": {"a": True}}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels"
            " of type string",
        ),
        (
            {"spec": {"overhead": {"cpu": "1x"}}},
            "quantities must match the regular expression"
            " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_a_refusal_has_gos_words(wire: dict[str, Any], message: str):
    with pytest.raises(WrongTypeError) as refused:
        conform(POD, wire)
    assert str(refused.value) == message
