"""A CustomResourceDefinition to test with: CronTabs of example.com."""

import asyncio
from typing import Any

from tests.support.control.requests import Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "crontabs.example.com"
CRONTABS = "/apis/example.com/v1/namespaces/default/crontabs"
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "env": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
            },
        },
    },
}
STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {"replicas": {"type": "integer"}, "labels": {"type": "string"}},
}
COLUMNS = [
    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def version(name: str = "v1", **more: Any) -> dict[str, Any]:
    """Return a version that is served and stored."""
    schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
    return {
        "name": name,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    } | more


def definition(*versions: dict[str, Any], scope: str = "Namespaced", **more: Any) -> dict[str, Any]:
    """Return the definition of CronTabs; ``more`` is put into its spec."""
    names = {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]}
    spec = {
        "group": "example.com",
        "scope": scope,
        "names": names,
        "versions": list(versions) or [version()],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": spec | more,
    }


def crontab(name: str = "a", **spec: Any) -> dict[str, Any]:
    """Return a CronTab."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * */5"} | spec,
    }


async def established(api: Api, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a definition, and wait until it is established; return it."""
    await api.make(DEFINITIONS, body or definition())
    return await until(api, f"{DEFINITIONS}/{NAME}", is_established)


def is_established(body: dict[str, Any]) -> bool:
    """Return True if a definition is established."""
    return conditions(body).get("Established") == "True"


def conditions(body: dict[str, Any]) -> dict[str, str]:
    """Return the status of each condition of a definition."""
    found = body.get("status", {}).get("conditions") or []
    return {each["type"]: each["status"] for each in found}


async def until(api: Api, path: str, fits: Any) -> dict[str, Any]:
    """Read an object again and again until it fits; return it."""
    while True:
        reply = await api("GET", path)
        if reply.code == 200 and fits(reply.body):
            return dict(reply.body)
        await asyncio.sleep(0.01)


async def until_gone(api: Api, path: str) -> None:
    """Wait until a path answers 404."""
    while True:
        if (await api("GET", path)).code == 404:
            return
        await asyncio.sleep(0.01)
