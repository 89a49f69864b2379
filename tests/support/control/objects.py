"""Wire objects: a minimal valid one of each kind."""

from typing import Any

from control.api.kinds import Kind

_METADATA = {"name": "x", "namespace": "default"}


def of(kind: Kind, **rest: Any) -> dict[str, Any]:
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": dict(_METADATA)} | rest


def containers(**extra: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "image": "busybox:1"} | extra]


def template(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers()} | spec}


SELECTOR = {"matchLabels": {"a": "b"}}
_STORAGE = {"storage": "1Gi"}
_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
_MATCHED = {"resourceRules": [{"operations": ["CREATE"], **_PODS}]}
VALID = {
    "ValidatingAdmissionPolicy": {
        "spec": {"matchConstraints": _MATCHED, "validations": [{"expression": "true"}]}
    },
    "ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "p", "validationActions": ["Deny"]}
    },
    "MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": _MATCHED,
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{}]"}}],
            "reinvocationPolicy": "Never",
        }
    },
    "MutatingAdmissionPolicyBinding": {"spec": {"policyName": "p"}},
    "PersistentVolume": {
        "spec": {
            "capacity": _STORAGE,
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/data"},
        }
    },
    "PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": _STORAGE}}
    },
    "StorageClass": {"provisioner": "example.com/disks"},
    "APIService": {
        "metadata": {"name": "v1.a.example"},
        "spec": {
            "group": "a.example",
            "version": "v1",
            "groupPriorityMinimum": 1,
            "versionPriority": 1,
        },
    },
    "CustomResourceDefinition": {
        "metadata": {"name": "things.example.com", "namespace": "default"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
        "status": {"storedVersions": ["v1"]},
    },
    "Pod": {"spec": {"containers": containers()}},
    "Deployment": {"spec": {"selector": SELECTOR, "template": template()}},
    "ReplicaSet": {"spec": {"selector": SELECTOR, "template": template()}},
    "DaemonSet": {"spec": {"selector": SELECTOR, "template": template()}},
    "StatefulSet": {"spec": {"selector": SELECTOR, "template": template()}},
    "Service": {"spec": {"ports": [{"port": 80}], "ipFamilies": ["IPv4"]}},
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"port": 80}],
    },
    "Endpoints": {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]},
    "RoleBinding": {"roleRef": {"kind": "Role", "name": "r"}},
    "ClusterRoleBinding": {"roleRef": {"kind": "ClusterRole", "name": "r"}},
    "Job": {
        "spec": {
            "manualSelector": True,
            "selector": SELECTOR,
            "template": template(restartPolicy="Never"),
        }
    },
    "CronJob": {
        "spec": {
            "schedule": "@hourly",
            "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}},
        }
    },
    "ControllerRevision": {"data": {}, "revision": 1},
    "Secret": {"stringData": {"a": "b"}},
    "PodTemplate": {"template": template()},
    "HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 1}
    },
    "ReplicationController": {"spec": {"selector": {"a": "b"}, "template": template()}},
    "RuntimeClass": {"handler": "runc"},
    "Ingress": {"spec": {"rules": [{"host": "x.example"}]}},
    "IngressClass": {"spec": {"controller": "x.example/ingress"}},
    "FlowSchema": {"spec": {"priorityLevelConfiguration": {"name": "exempt"}}},
    "PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
    "IPAddress": {
        "metadata": {"name": "192.0.2.1"},
        "spec": {"parentRef": {"resource": "services", "name": "x", "namespace": "default"}},
    },
    "ServiceCIDR": {"spec": {"cidrs": ["192.0.2.0/24"]}},
}
