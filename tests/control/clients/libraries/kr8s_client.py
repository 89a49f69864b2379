"""kr8s: objects, watches and logs."""

import asyncio

import kr8s
from kr8s.asyncio.objects import ConfigMap, Pod

HEAD = {"apiVersion": "v1", "kind": "ConfigMap"}
META = {"name": "a", "namespace": "default", "labels": {"x": "y"}}


async def main() -> None:
    made = await ConfigMap(HEAD | {"metadata": META, "data": {"k": "1"}})
    await made.create()
    assert (await ConfigMap.get("a", namespace="default")).data == {"k": "1"}
    api = await kr8s.asyncio.api()
    found = [item.name async for item in api.get("configmaps", label_selector="x=y")]
    assert found == ["a"]
    await made.patch({"data": {"k": "2"}})
    await made.label({"z": "1"})
    await made.refresh()
    assert (made.data, made.labels) == ({"k": "2"}, {"x": "y", "z": "1"})
    async for kind, seen in api.watch("configmaps", namespace="default"):
        assert (kind, seen.name) == ("ADDED", "a")
        break
    await made.delete()
    await made.wait("delete", timeout=60)
    assert not await made.exists()

    pod = await Pod.get("web", namespace="default")
    assert [line async for line in pod.logs()] == ["one", "two"]
    assert (await api.version())["major"] == "1"


asyncio.run(main())
