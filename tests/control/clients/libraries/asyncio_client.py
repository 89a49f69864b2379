"""kubernetes_asyncio: objects, watches, logs and commands."""

import asyncio

from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.stream import WsApiClient

MAP = {"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "1"}}
APPLIED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"m": "3"}}


async def objects(api: client.CoreV1Api) -> None:
    await api.create_namespaced_config_map("default", MAP)
    assert (await api.read_namespaced_config_map("a", "default")).data == {"k": "1"}
    listed = await api.list_namespaced_config_map("default", label_selector="x=y")
    assert [item.metadata.name for item in listed.items] == ["a"]
    await api.patch_namespaced_config_map("a", "default", {"data": {"k": "2"}})
    done = await api.patch_namespaced_config_map(
        "a", "default", APPLIED, field_manager="me", _content_type="application/apply-patch+yaml"
    )
    assert done.data == {"k": "2", "m": "3"}, done.data
    since = listed.metadata.resource_version
    for wanted in ({"k": "2"}, {"k": "2", "m": "3"}):
        async with watch.Watch() as follow:
            async for event in follow.stream(
                api.list_namespaced_config_map, "default", resource_version=since
            ):
                assert event["object"].data == wanted, event["object"].data
                since = event["object"].metadata.resource_version
                break
    await api.delete_namespaced_config_map("a", "default")
    assert (await api.read_namespaced_pod_log("web", "default")) == "one\ntwo\n"


async def commands() -> None:
    async with WsApiClient() as connected:
        said = await client.CoreV1Api(connected).connect_get_namespaced_pod_exec(
            "web", "default", command=["echo", "hi"], stdout=True, stderr=True, stdin=False
        )
    assert said == "hi\n", said


async def main() -> None:
    await config.load_kube_config()
    async with client.ApiClient() as connected:
        await objects(client.CoreV1Api(connected))
    await commands()


asyncio.run(main())
