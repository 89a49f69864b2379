"""The official client of Python (kubernetes): objects, watches, logs and commands."""

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

config.load_kube_config()
api = client.CoreV1Api()
made = api.create_namespaced_config_map(
    "default", {"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "1"}}
)
assert api.read_namespaced_config_map("a", "default").data == {"k": "1"}
listed = api.list_namespaced_config_map("default", label_selector="x=y", limit=1)
assert [item.metadata.name for item in listed.items] == ["a"]
api.patch_namespaced_config_map("a", "default", {"data": {"k": "2"}})
applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"m": "3"}}
done = api.patch_namespaced_config_map(
    "a", "default", applied, field_manager="me", _content_type="application/apply-patch+yaml"
)
assert done.data == {"k": "2", "m": "3"}, done.data

follow = watch.Watch()
where = {"namespace": "default", "timeout_seconds": 60}
since = listed.metadata.resource_version
for event in follow.stream(api.list_namespaced_config_map, resource_version=since, **where):
    assert (event["type"], event["object"].data["k"]) == ("MODIFIED", "2")
    since = event["object"].metadata.resource_version
    break
for event in follow.stream(api.list_namespaced_config_map, resource_version=since, **where):
    assert event["object"].data == {"k": "2", "m": "3"}, event["object"].data
    break
api.delete_namespaced_config_map("a", "default")
try:
    api.read_namespaced_config_map("a", "default")
except ApiException as err:
    assert err.status == 404
else:
    raise AssertionError("it is still there")

assert api.read_namespaced_pod_log("web", "default") == "one\ntwo\n"
said = stream(
    api.connect_get_namespaced_pod_exec,
    "web",
    "default",
    command=["sh", "-c", "echo hi; echo no >&2; exit 3"],
    stdout=True,
    stderr=True,
    _preload_content=False,
)
said.run_forever(timeout=60)
assert (said.read_stdout(), said.read_stderr(), said.returncode) == ("hi\n", "no\n", 3)
for kind in (client.VersionApi().get_code().git_version, client.AppsV1Api().get_api_resources()):
    assert kind
