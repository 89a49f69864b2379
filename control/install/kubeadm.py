"""The ConfigMaps by which kubeadm, and tools that read its settings, know a cluster.

podwire's own nodes read ``podwire-config``. Source: ``kubeadm init``, its phases upload-config and
kubelet; https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ and
kubelet-config.v1beta1
"""

from typing import Any

import yaml

from control.install.settings import ControlPlaneSettings
from control.version import KUBERNETES

CLUSTER, KUBELET = "kubeadm-config", "kubelet-config"
# The role of each, as kubeadm calls it.
ROLES = {CLUSTER: "kubeadm:nodes-kubeadm-config", KUBELET: "kubeadm:kubelet-config"}
_PKI = "/etc/kubernetes/pki"  # of a node that kubeadm makes


def config_maps(settings: ControlPlaneSettings) -> dict[str, dict[str, str]]:
    """Return the data of each ConfigMap by its name."""
    return {
        CLUSTER: {"ClusterConfiguration": _yaml(_cluster(settings))},
        KUBELET: {"kubelet": _yaml(_kubelet(settings))},
    }


def _cluster(settings: ControlPlaneSettings) -> dict[str, Any]:
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "podwire",
        "kubernetesVersion": f"v{KUBERNETES}",
        "controlPlaneEndpoint": settings.endpoint,
        "networking": {
            "dnsDomain": settings.dns.domain,
            "podSubnet": settings.pods,
            "serviceSubnet": settings.services,
        },
    }


def _kubelet(settings: ControlPlaneSettings) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{_PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": list(settings.dns_ips),
        "clusterDomain": settings.dns.domain,
        "cgroupDriver": "systemd",
        "rotateCertificates": True,
        "serverTLSBootstrap": True,  # the controllers approve it
        "staticPodPath": "/etc/kubernetes/manifests",
    }


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)
