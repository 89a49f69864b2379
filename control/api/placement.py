"""Where a Pod wants to run: affinity, tolerations, spreading."""

from pydantic import Field

from control.api.base import Model
from control.api.meta import LabelSelector


class Toleration(Model):
    """Lets a Pod onto (or stay on) a tainted node; ``operator`` is Exists or Equal."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class NodeSelectorRequirement(Model):
    """One expression over a node's labels: In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str = ""
    operator: str = ""
    values: list[str] = []


class NodeSelectorTerm(Model):
    """All of its expressions hold; ``match_fields`` knows metadata.name only."""

    match_expressions: list[NodeSelectorRequirement] = []
    match_fields: list[NodeSelectorRequirement] = []


class NodeSelector(Model):
    """Any of its terms holds."""

    node_selector_terms: list[NodeSelectorTerm] = []


class PreferredSchedulingTerm(Model):
    """A wish, with its weight."""

    weight: int = 0
    preference: NodeSelectorTerm = Field(default_factory=NodeSelectorTerm)


class NodeAffinity(Model):
    """Which nodes a Pod must, and would rather, run on."""

    required: NodeSelector | None = Field(
        default=None, alias="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[PreferredSchedulingTerm] = Field(
        default=[], alias="preferredDuringSchedulingIgnoredDuringExecution"
    )


class PodAffinityTerm(Model):
    """Pods, and the node label whose values say what is together with them."""

    topology_key: str = ""
    label_selector: LabelSelector | None = None
    match_label_keys: list[str] = []
    mismatch_label_keys: list[str] = []
    namespaces: list[str] = []
    namespace_selector: LabelSelector | None = None


class WeightedPodAffinityTerm(Model):
    """A wish, with its weight."""

    weight: int = 0
    pod_affinity_term: PodAffinityTerm = Field(default_factory=PodAffinityTerm)


class PodAffinity(Model):
    """Which Pods a Pod must, and would rather, be together with."""

    required: list[PodAffinityTerm] = Field(
        default=[], alias="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[WeightedPodAffinityTerm] = Field(
        default=[], alias="preferredDuringSchedulingIgnoredDuringExecution"
    )


class PodAntiAffinity(PodAffinity):
    """Which Pods a Pod must, and would rather, be apart from."""


class Affinity(Model):
    """Where a Pod wants to be. Pod (anti-)affinity is kept, not yet understood."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class TopologySpreadConstraint(Model):
    """How evenly Pods lie over the values of a node label."""

    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = ""
    label_selector: LabelSelector | None = None
    match_label_keys: list[str] = []
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
