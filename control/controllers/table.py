"""The table of the controllers that a process runs."""

from dataclasses import dataclass, field
from datetime import timedelta

from control.controllers.aggregation import AggregationController
from control.controllers.autoscaler.controller import AutoscalerController
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings
from control.controllers.bootstrap.cleaning import TokenCleaner
from control.controllers.bootstrap.signing import BootstrapSigner
from control.controllers.certificates.approving import ApprovingController
from control.controllers.certificates.authority import SigningAuthority
from control.controllers.certificates.cleaning import CleaningController
from control.controllers.certificates.signing import SigningController
from control.controllers.cronjob.controller import CronJobController
from control.controllers.daemonset.controller import DaemonSetController
from control.controllers.deployment.controller import DeploymentController
from control.controllers.disruption.controller import DisruptionController
from control.controllers.disruption.stale import StaleDisruptionController
from control.controllers.endpoints.legacy import EndpointsController
from control.controllers.endpoints.mirror import MirroringController
from control.controllers.endpoints.planes import BesideServersController
from control.controllers.endpoints.slices import EndpointSliceController
from control.controllers.garbage.collector import GarbageCollector
from control.controllers.garbage.namespaces import NamespaceController
from control.controllers.garbage.pods import PodGarbageCollector
from control.controllers.job.controller import JobController
from control.controllers.job.ttl import TTLAfterFinishedController
from control.controllers.legacytokens import PERIOD, LegacyTokenCleaner
from control.controllers.loop import Controller
from control.controllers.nodes.cidr import ClusterRange, Network, PodCIDRController
from control.controllers.nodes.eviction import TaintEvictionController
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController
from control.controllers.policies import PolicyStatusController
from control.controllers.quota.controller import QuotaController
from control.controllers.ranges import ServiceRangeController
from control.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from control.controllers.rootca import RootCAController
from control.controllers.serviceaccount import ServiceAccountController
from control.controllers.statefulset.controller import StatefulSetController
from control.controllers.tokensecrets import TokenSecretController
from control.controllers.volumes.binder import VolumeBinder
from control.controllers.volumes.ephemeral import EphemeralVolumes
from control.controllers.volumes.protection import ClaimProtection, VolumeProtection
from control.tokens import TokenSigner


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The settings that differ between clusters."""

    ranges: tuple[ClusterRange, ...] = ()
    reserved: tuple[Network, ...] = ()
    grace: Grace = field(default_factory=Grace)
    endpoints_per_slice: int = 100
    autoscaler: AutoscalerSettings = DEFAULT
    root_ca: str = ""  # PEM; empty: nothing publishes it
    signer: TokenSigner | None = None  # of tokens in Secrets; None: nothing fills them
    token_period: timedelta = PERIOD  # without use, after which a token of a Secret ends
    authority: SigningAuthority | None = None  # of signing requests; None: nothing signs


def controllers(settings: ControllerSettings) -> tuple[Controller, ...]:
    """Return all controllers."""
    return (
        DeploymentController(),
        ReplicaSetController(),
        ReplicationControllerController(),
        DaemonSetController(),
        StatefulSetController(),
        JobController(),
        CronJobController(),
        TTLAfterFinishedController(),
        EndpointSliceController(settings.endpoints_per_slice),
        EndpointsController(),
        MirroringController(settings.endpoints_per_slice),
        BesideServersController(),
        *_allocators(settings),
        NodeLifecycleController(settings.grace),
        TaintEvictionController(),
        ServiceAccountController(),
        AggregationController(),
        *_token_secrets(settings),
        LegacyTokenCleaner(settings.token_period),
        *((RootCAController(settings.root_ca),) if settings.root_ca else ()),
        DisruptionController(),
        StaleDisruptionController(),
        QuotaController(),
        ServiceRangeController(),
        PolicyStatusController(),
        AutoscalerController(settings.autoscaler),
        ApprovingController(),
        *((SigningController(settings.authority),) if settings.authority else ()),
        CleaningController(),
        BootstrapSigner(),
        TokenCleaner(),
        *_volumes(),
        NamespaceController(),
        GarbageCollector(),
        PodGarbageCollector(),
    )


def _volumes() -> tuple[Controller, ...]:
    return VolumeBinder(), ClaimProtection(), VolumeProtection(), EphemeralVolumes()


def _token_secrets(settings: ControllerSettings) -> tuple[Controller, ...]:
    if settings.signer is None:
        return ()
    return (TokenSecretController(settings.signer, settings.root_ca),)


def _allocators(settings: ControllerSettings) -> tuple[Controller, ...]:
    if not settings.ranges:  # something else allocates the nodes' ranges
        return ()
    return (PodCIDRController(settings.ranges, settings.reserved),)
