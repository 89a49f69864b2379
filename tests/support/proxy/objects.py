"""API objects for tests of parsing."""

from proxy.objects.parse import Complaints
from proxy.objects.wire import Service as ApiService


def service_with(labels=None, status=None, annotations=None, **spec):
    spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec}
    meta = {
        "namespace": "ns",
        "name": "web",
        "labels": labels or {},
        "annotations": annotations or {},
    }
    wire = ApiService.read({"metadata": meta, "spec": spec, "status": status or {}})
    complaints = Complaints("Service ns/web")
    return wire, complaints
