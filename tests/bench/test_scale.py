"""What ``bin/bench scale`` counts and prints."""

from bench.scale import report
from bench.scale_lab import Size, Used
from bench.scale_requests import counted, for_each

METRICS = """# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="pods",\
scope="resource",subresource="",verb="POST",version="v1"} 10
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="pods",\
scope="resource",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="pods",\
scope="resource",subresource="binding",verb="POST",version="v1"} 1e1
apiserver_request_duration_seconds_count{resource="pods"} 7
"""


def test_requests_are_counted_by_verb_and_resource():
    assert counted(METRICS) == {"POST pods": 12, "POST pods/binding": 10}


def test_the_requests_for_each_pod_begin_with_the_most_frequent():
    before, after = {"GET a": 5, "PUT c": 1}, {"GET a": 15, "PUT b": 40, "PUT c": 1}
    found = for_each(before, after, 10)
    assert list(found.items()) == [("PUT b", 4.0), ("GET a", 1.0)]


def test_the_tables_tell_the_binding_from_the_start():
    idle, bound, loaded = ({"apiserver": Used(n, n * 10_000_000)} for n in (1.0, 3.0, 6.0))
    rest = {"apiserver": 0.5}
    requests = {"POST pods": 1.0, "POST pods/binding": 1.25}
    text = report([Size(10, 1000, 5, 20, 30, 40, idle, bound, loaded, rest, 0.5, requests)])
    assert "| 10 | 1,000 | 20 s | 30 s | 40 s | 500 ms | 60 MB | 0.50 processors |" in text
    assert "| apiserver | 2.0 s, 5.0 s, 10 to 60 MB, 0.50 |" in text
    assert "| POST pods/binding | 1.25 |" in text and "| all | 2.25 |" in text
