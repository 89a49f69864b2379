"""API objects for tests of parsing."""

from control.api.service import Service as ApiService
from proxy.objects.parse import (
    Complaints,
)


def service_with(labels=None, status=None, annotations=None, **spec):
    spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec}
    meta = {
        "namespace": "ns",
        "name": "web",
        "labels": labels or {},
        "annotations": annotations or {},
    }
    wire = ApiService.parse({"metadata": meta, "spec": spec, "status": status or {}})
    complaints = Complaints("Service ns/web")
    return wire, complaints
