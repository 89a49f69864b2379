"""What upstream's API server 1.36 accepts and refuses of definitions and their objects."""

from typing import Any

import pytest

from tests.support.control.definitions import (
    CRONTABS,
    DEFINITIONS,
    crontab,
    definition,
    established,
    version,
)
from tests.support.control.requests import MERGE, Api

Wire = dict[str, Any]
SCALE = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}
ROOT = "spec.validation.openAPIV3Schema"
REVIEWS = {"conversionReviewVersions": ["v1"]}
CLIENT = {"clientConfig": {"service": {"name": "a", "namespace": "b"}}}


def schema(**properties: Any) -> Wire:
    """Return the schema of a kind whose spec has some properties."""
    spec = {"type": "object", "properties": properties}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}


def converting(**conversion: Any) -> Wire:
    body = definition(version())
    body["spec"]["conversion"] = conversion
    return body


REFUSED: dict[str, tuple[Wire, str]] = {
    "no strategy": (converting(), "spec.conversion.strategy: Required value"),
    "reviews nobody knows": (
        converting(strategy="Webhook", webhook={"conversionReviewVersions": ["v2"], **CLIENT}),
        'spec.conversion.conversionReviewVersions: Invalid value: ["v2"]: must include at least'
        " one of v1, v1beta1",
    ),
    "a URL without TLS": (
        converting(strategy="Webhook", webhook=REVIEWS | {"clientConfig": {"url": "http://x"}}),
        "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only"
        " allowed URL scheme; desired format: https://host[/path]",
    ),
    "a webhook that is not asked": (
        converting(strategy="None", webhook=REVIEWS | CLIENT),
        "[spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not"
        " set to Webhook, spec.conversion.conversionReviewVersions: Forbidden: should not be set"
        " when strategy is not set to Webhook]",
    ),
    "a name in metadata without a type": (
        definition(
            version(
                schema={
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "metadata": {
                                "type": "object",
                                "properties": {"name": {"pattern": "^a"}},
                            }
                        },
                    }
                }
            )
        ),
        f"{ROOT}.properties[metadata].properties[name].type: Required value: must not be empty for"
        " specified object fields",
    ),
    "a default that breaks a rule": (
        definition(
            version(
                schema=schema(
                    a={
                        "type": "string",
                        "default": "y",
                        "x-kubernetes-validations": [{"rule": "self.startsWith('x')"}],
                    }
                )
            )
        ),
        f'{ROOT}.properties[spec].properties[a].default: Invalid value: "y": failed rule:'
        " self.startsWith('x')",
    ),
    "a default of another type": (
        definition(
            version(
                schema=schema(
                    o={"type": "object", "default": {"a": 1}}
                    | {"properties": {"a": {"type": "string"}}}
                )
            )
        ),
        f'{ROOT}.properties[spec].properties[o].default.a: Invalid value: "integer": a in body must'
        ' be of type string: "integer"',
    ),
    "the type null": (
        definition(version(schema=schema(a={"type": "null"}))),
        f"{ROOT}.properties[spec].properties[a].type: Forbidden: type cannot be set to null, use"
        " nullable as an alternative",
    ),
    "a rule of no condition": (
        definition(
            version(
                schema=schema(a={"type": "string", "x-kubernetes-validations": [{"rule": "'a'"}]})
            )
        ),
        f"{ROOT}.properties[spec].properties[a].x-kubernetes-validations[0].rule: Invalid value:"
        ' {"Rule":"\'a\'","Message":"","MessageExpression":"","Reason":null,"FieldPath":"",'
        '"OptionalOldSelf":null}: cel expression must evaluate to a bool',
    ),
    "a column": (
        definition(
            version(additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": ".a"}])
        ),
        'spec.additionalPrinterColumns[0].type: Invalid value: "x": must be one of'
        " boolean,date,integer,number,string",
    ),
    "a column of one of two versions": (
        definition(
            version(),
            version(
                "v2",
                storage=False,
                additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": ".a"}],
            ),
        ),
        'spec.versions[1].additionalPrinterColumns[0].type: Invalid value: "x": must be one of'
        " boolean,date,integer,number,string",
    ),
}


@pytest.mark.parametrize(("body", "said"), REFUSED.values(), ids=REFUSED)
async def test_refused_definitions(api: Api, body: Wire, said: str):
    refused = await api("POST", DEFINITIONS, body)
    assert (refused.code, said in refused["message"]) == (422, True), refused["message"]


async def test_an_alternative_below_the_root_may_name_what_is_not_there(api: Api):
    body = definition(
        version(
            schema=schema(
                o={"type": "object"} | {"anyOf": [{"properties": {"x": {"minLength": 1}}}]}
            )
        )
    )
    assert (await api("POST", DEFINITIONS, body)).code == 201


async def test_the_service_of_a_conversion_has_a_port(api: Api):
    made = await api("POST", DEFINITIONS, converting(strategy="Webhook", webhook=REVIEWS | CLIENT))
    client = made["spec"]["conversion"]["webhook"]["clientConfig"]
    assert client["service"] == {"name": "a", "namespace": "b", "port": 443}


RICH = schema(
    n={"type": "integer"},
    e={"type": "string", "enum": ["x", "y"]},
    short={"type": "string", "minLength": 1, "pattern": "^a"},
    at={"type": "string", "format": "date-time"},
    list={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    part={
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    },
)
RICH["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.n < 9"}]
BLIND = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was"
    " invalid; correct the existing errors to complete validation"
)
WRONG: dict[str, tuple[Any, str]] = {
    "text in place of a spec": (
        "x",
        '[spec: Invalid value: "string": spec in body must be of type object: "string", .spec.n:'
        " Invalid value: 0: .spec.n accessor error: x is of the type string, expected"
        f" map[string]interface{{}}, {BLIND}]",
    ),
    "text in place of a list": (
        {"list": "x", "n": 1},
        '[spec.list: Invalid value: "string": spec.list in body must be of type array: "string",'
        f" {BLIND}]",
    ),
    "text in place of a number": (
        {"n": "1"},
        '[spec.n: Invalid value: "string": spec.n in body must be of type integer: "string",'
        " .spec.n: Invalid value: 0: .spec.n accessor error: 1 is of the type string, expected"
        f" int64, {BLIND}]",
    ),
    "a value that is not allowed": (
        {"e": "z", "n": 1},
        f'[spec.e: Unsupported value: "z": supported values: "x", "y", {BLIND}]',
    ),
    "short text": (
        {"short": "", "n": 1},
        'spec.short: Invalid value: "": spec.short in body should be at least 1 chars long',
    ),
    "no time": (
        {"at": "x", "n": 1},
        f'[spec.at: Invalid value: "x": spec.at in body must be of type date-time: "x", {BLIND}]',
    ),
    "a part's label": (
        {"n": 1, "part": {"apiVersion": "v1", "kind": "X", "metadata": {"labels": {"-": "b"}}}},
        'spec.part.metadata.labels: Invalid value: "-": name part must consist of alphanumeric'
        " characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g."
        " 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
        " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    ),
    "a part's version": (
        {"n": 1, "part": {"apiVersion": "a/b/c", "kind": "X"}},
        'spec.part.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
    ),
}


@pytest.mark.parametrize(("spec", "said"), WRONG.values(), ids=WRONG)
async def test_refused_objects(api: Api, spec: Any, said: str):
    subresources = {"scale": SCALE}
    await established(api, definition(version(schema=RICH, subresources=subresources)))
    body = crontab() | {"spec": spec}
    refused = await api("POST", CRONTABS, body)
    assert (refused.code, refused["message"]) == (
        422,
        f'CronTab.example.com "a" is invalid: {said}',
    )
    await api.make(CRONTABS, crontab() | {"spec": {"n": 1, "list": ["a"]}})
    changed = await api("PUT", f"{CRONTABS}/a", body)
    assert changed.code == 422, "an update of a right object is refused, too"


async def test_a_finalizer_of_a_custom_object_needs_no_domain(api: Api):
    await established(api)
    body = crontab()
    body["metadata"]["finalizers"] = ["x", "a.b", "orphan", "example.com/x"]
    made = await api("POST", CRONTABS, body)
    avoid = "to avoid accidental conflicts with other finalizer writers"
    assert (made.code, made.warnings) == (
        201,
        (
            rf'299 - "metadata.finalizers: \"a.b\": prefer a domain-qualified finalizer name'
            f' including a path (/) {avoid}"',
            rf'299 - "metadata.finalizers: \"x\": prefer a domain-qualified finalizer name'
            f' {avoid}"',
        ),
    )
    names = {"metadata": {"finalizers": ["x", "y"]}}
    changed = await api("PATCH", f"{CRONTABS}/a", names, MERGE)
    assert [r"\"y\"" in each for each in changed.warnings] == [True]
    names = {"metadata": {"finalizers": ["a/b/c"]}}
    refused = await api("PATCH", f"{CRONTABS}/a", names, MERGE)
    assert 'metadata.finalizers: Invalid value: "a/b/c"' in refused["message"]
    await api("PATCH", f"{CRONTABS}/a", {"metadata": {"finalizers": None}}, MERGE)


async def test_a_deprecated_version_names_a_better_one(api: Api):
    old = version("v1beta1", storage=False, deprecated=True)
    await established(api, definition(version(), old))
    told = await api("GET", CRONTABS.replace("v1", "v1beta1"))
    assert told.warnings == (
        '299 - "example.com/v1beta1 CronTab is deprecated; use example.com/v1 CronTab"',
    )


async def test_a_field_that_no_selector_may_name(api: Api):
    fields = [{"jsonPath": ".spec.image"}]
    await established(api, definition(version(selectableFields=fields)))
    assert (await api("GET", f"{CRONTABS}?fieldSelector=spec.image%3Dx")).code == 200
    refused = await api("GET", f"{CRONTABS}?fieldSelector=spec.port%3Dx")
    assert (refused.code, refused["message"]) == (400, "field label not supported: spec.port")
