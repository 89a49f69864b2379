"""/metrics of the API server: requests by upstream's names."""

from control.metrics import Registry, exponential
from control.server.wire.exposition import samples
from tests.support.control.requests import CORE, Api, config_map

MAPS = f"{CORE}/configmaps"


async def read(api: Api) -> dict[tuple[str, ...], float]:
    """Read all samples of requests about ConfigMaps: name, code, dry run, scope, verb."""
    reply = await api("GET", "/metrics")
    assert reply.code == 200
    names = ("code", "dry_run", "scope", "verb")
    return {
        (it.name, *(it.labels.get(name, "") for name in names)): it.value
        for it in samples(reply.body)
        if it.labels.get("resource") == "configmaps" and "le" not in it.labels
    }


async def test_requests_are_counted(api: Api):
    await api.make(MAPS, config_map("a"))
    await api("POST", MAPS, config_map("a"))
    await api("POST", f"{MAPS}?dryRun=All", config_map("b"))
    for _ in range(3):
        await api("GET", f"{MAPS}/a")
    await api("GET", MAPS)
    found = await read(api)
    total = {key[1:]: value for key, value in found.items() if key[0] == "apiserver_request_total"}
    assert total == {
        ("201", "", "resource", "POST"): 1,
        ("409", "", "resource", "POST"): 1,
        ("201", "All", "resource", "POST"): 1,
        ("200", "", "resource", "GET"): 3,
        ("200", "", "namespace", "LIST"): 1,
    }
    count = "apiserver_request_duration_seconds_count"
    assert found[count, "", "", "resource", "POST"] == 2
    assert found["apiserver_storage_objects", "", "", "", ""] == 2  # one is the server's own


async def test_a_watch_runs_long_and_leaves_no_trace_in_flight(api: Api):
    long = "apiserver_longrunning_requests", "", "", "namespace", "WATCH"
    async with api.session.get(f"{MAPS}?watch=true") as watch:
        assert watch.status == 200
        assert (await read(api))[long] == 1
    text = (await api("GET", "/metrics")).body
    flying = [it for it in samples(text) if it.name == "apiserver_current_inflight_requests"]
    assert [(it.labels["request_kind"], it.value) for it in flying] == [
        ("mutating", 0),
        ("readOnly", 0),
    ]
    assert "process_resident_memory_bytes " in text and "kubernetes_build_info{" in text


async def test_other_methods_are_refused(api: Api):
    assert (await api("POST", "/metrics", {})).code == 405


def test_text():
    registry = Registry()
    registry.counter("c_total", "Counts.", "of").add('a"\n\\')
    registry.gauge("g", "Goes up and down.").set(value=2.5)
    took = registry.histogram("h", "Takes.", "of", buckets=exponential(0.001, 2, 3))
    for seconds in (0.001, 0.003, 9.0):
        took.observe("x", value=seconds)
    assert registry.text().splitlines()[:14] == [
        "# HELP c_total Counts.",
        "# TYPE c_total counter",
        'c_total{of="a\\"\\n\\\\"} 1',
        "# HELP g Goes up and down.",
        "# TYPE g gauge",
        "g 2.5",
        "# HELP h Takes.",
        "# TYPE h histogram",
        'h_bucket{of="x",le="0.001"} 1',
        'h_bucket{of="x",le="0.002"} 1',
        'h_bucket{of="x",le="0.004"} 2',
        'h_bucket{of="x",le="+Inf"} 3',
        'h_sum{of="x"} 9.004',
        'h_count{of="x"} 3',
    ]
