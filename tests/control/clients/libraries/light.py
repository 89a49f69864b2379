"""lightkube: objects, watches and logs."""

from lightkube import ApiError, Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

client = Client(field_manager="me")
meta = ObjectMeta(name="a", namespace="default", labels={"x": "y"})
made = client.create(ConfigMap(metadata=meta, data={"k": "1"}))
assert client.get(ConfigMap, "a", namespace="default").data == {"k": "1"}
(listed,) = client.list(ConfigMap, namespace="default", labels={"x": "y"})
client.patch(ConfigMap, "a", {"data": {"k": "2"}}, namespace="default")
client.patch(ConfigMap, "a", {"data": {"k": "2"}}, patch_type=PatchType.MERGE, namespace="default")
applied = ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"m": "3"})
assert client.apply(applied).data == {"k": "2", "m": "3"}
since = made.metadata.resourceVersion
for wanted in ({"k": "2"}, {"k": "2", "m": "3"}):
    for operation, seen in client.watch(ConfigMap, namespace="default", resource_version=since):
        assert (operation, seen.data) == ("MODIFIED", wanted), (operation, seen)
        since = seen.metadata.resourceVersion
        break
client.delete(ConfigMap, "a", namespace="default")
try:
    client.get(ConfigMap, "a", namespace="default")
except ApiError as err:
    assert err.status.reason == "NotFound"
else:
    raise AssertionError("it is still there")
assert [pod.metadata.name for pod in client.list(Pod, namespace="default")] == ["web"]
assert list(client.log("web", namespace="default")) == ["one\n", "two\n"]
