"""CustomResourceDefinitions: from their creation to the deletion of their objects."""

import json

from tests.support.control.definitions import (
    COLUMNS,
    CRONTABS,
    DEFINITIONS,
    NAME,
    conditions,
    crontab,
    definition,
    established,
    until,
    until_gone,
    version,
)
from tests.support.control.requests import MERGE, STRATEGIC, Api

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_a_definition_is_established_and_its_objects_are_served(api: Api):
    assert (await api("GET", CRONTABS)).code == 404
    made = await established(api, definition(version(additionalPrinterColumns=COLUMNS)))
    assert conditions(made) == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["acceptedNames"]["listKind"] == "CronTabList"
    assert made["status"]["storedVersions"] == ["v1"]
    created = await api.make(CRONTABS, crontab(replicas=2))
    assert (created["spec"]["image"], created["metadata"]["generation"]) == ("busybox", 1)
    assert (await api("GET", f"{CRONTABS}/a")).body == created
    listed = await api("GET", "/apis/example.com/v1/crontabs")
    assert (listed["kind"], len(listed["items"])) == ("CronTabList", 1)
    table = await api("GET", CRONTABS, Accept=TABLE)
    assert [each["name"] for each in table["columnDefinitions"]][1:] == ["Spec", "Replicas", "Age"]
    assert table["rows"][0]["cells"][:3] == ["a", "* * * * */5", 2]
    changed = await api("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 3}}, MERGE)
    assert changed["metadata"]["generation"] == 2
    assert (await api("PATCH", f"{CRONTABS}/a", {"spec": {}}, STRATEGIC)).code == 415
    assert (await api("DELETE", f"{CRONTABS}/a")).code == 200
    assert (await api("GET", f"{CRONTABS}/a")).code == 404


async def test_discovery_names_the_kind(api: Api):
    await established(api)
    (row,) = (await api("GET", "/apis/example.com/v1"))["resources"]
    assert (row["name"], row["kind"], row["shortNames"]) == ("crontabs", "CronTab", ["ct"])
    groups = [group["name"] for group in (await api("GET", "/apis"))["groups"]]
    assert groups[-1] == "example.com"


async def test_a_deleted_definition_takes_its_objects_and_ends_their_watches(api: Api):
    await established(api)
    made = await api.make(CRONTABS, crontab())
    version_ = made["metadata"]["resourceVersion"]
    async with api.session.get(f"{CRONTABS}?watch=1&resourceVersion={version_}") as watch:
        deleted = await api("DELETE", f"{DEFINITIONS}/{NAME}")
        assert (deleted.code, conditions(deleted.body)["Terminating"]) == (200, "True")
        events = [json.loads(line) async for line in watch.content]
    assert [event["type"] for event in events] == ["DELETED"]
    await until_gone(api, f"{DEFINITIONS}/{NAME}")
    assert (await api("GET", CRONTABS)).code == 404
    await established(api)
    assert (await api("GET", CRONTABS))["items"] == []


async def test_a_definition_waits_for_objects_with_finalizers(api: Api):
    await established(api)
    body = crontab()
    body["metadata"]["finalizers"] = ["example.com/keep"]
    await api.make(CRONTABS, body)
    await api("DELETE", f"{DEFINITIONS}/{NAME}")
    await until(api, f"{CRONTABS}/a", lambda it: "deletionTimestamp" in it["metadata"])
    refused = await api("POST", CRONTABS, crontab("b"))
    why = "create not allowed while custom resource definition is terminating"
    assert refused.code == 403
    assert refused["message"] == f'crontabs.example.com "b" is forbidden: {why}'
    await api("PATCH", f"{CRONTABS}/a", {"metadata": {"finalizers": None}}, MERGE)
    await until_gone(api, f"{DEFINITIONS}/{NAME}")


async def test_two_definitions_cannot_have_one_name(api: Api):
    await established(api)
    other = definition(names={"plural": "tabs", "kind": "CronTab", "shortNames": ["ct"]})
    other["metadata"]["name"] = "tabs.example.com"
    await api.make(DEFINITIONS, other)
    path = f"{DEFINITIONS}/tabs.example.com"
    found = await until(api, path, lambda it: "NamesAccepted" in conditions(it))
    assert conditions(found) == {"NamesAccepted": "False", "Established": "False"}
    assert found["status"]["conditions"][0]["reason"] == "ListKindConflict"
    assert (await api("GET", "/apis/example.com/v1/tabs")).code == 404
    await api("DELETE", f"{DEFINITIONS}/{NAME}")
    await until(api, path, lambda it: conditions(it)["Established"] == "True")
