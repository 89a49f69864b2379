"""The agent's settings in the words of a KubeletConfiguration, for ``/configz``. Pure.

Only what the agent has and holds to is in it. Source: k8s.io/kubelet/config/v1beta1
"""

from typing import Any

from control.agent.config import Config


def kubelet_configuration(config: Config) -> dict[str, Any]:
    """Return the settings by kubelet's names."""
    server = config.server
    found = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": server.address or "0.0.0.0",  # noqa: S104  nothing is bound here
        "port": server.port,
        "tlsCertFile": str(server.certificate or ""),
        "tlsPrivateKeyFile": str(server.key or ""),
        "authentication": {
            "x509": {"clientCAFile": str(server.client_ca or "")},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "anonymous": {"enabled": False},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "staticPodPath": str(config.manifests or ""),
        "containerRuntimeEndpoint": config.runtime_endpoint,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": config.cgroup_root,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": list(config.cluster_dns),
        "resolvConf": str(config.resolv_conf),
        "podPidsLimit": config.pod_pids,
        "seccompDefault": config.seccomp_default,
        "evictionHard": {it.signal: it.text for it in config.eviction_hard},
        "shutdownGracePeriod": f"{config.shutdown.whole:g}s",
        "shutdownGracePeriodCriticalPods": f"{config.shutdown.critical:g}s",
        "maxPods": 110,
        "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": 40,
    }
    return {key: value for key, value in found.items() if value not in ("", [], {})}
