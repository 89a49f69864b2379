"""The table columns of workloads: Deployments and their like, and the Scale of each. Pure."""

from collections.abc import Sequence
from datetime import datetime

from control.api.columns.base import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    containers_cells,
    labels_text,
    name_of,
    wide,
)
from control.api.meta import LabelSelector
from control.api.selectors import format_labels

TEMPLATE = (wide("Containers"), wide("Images"), wide("Selector"))


def number(name: str) -> Column:
    """Make a column of numbers."""
    return Column(name, type="integer")


def template_cells(spec: Wire) -> tuple[Cell, ...]:
    """Return the cells of the columns TEMPLATE, for the spec of a workload."""
    selector = format_labels(LabelSelector.parse(dict(spec.get("selector", {}))))
    return (*containers_cells(spec.get("template", {})), selector or NONE)


def _scale(scale: Wire, now: datetime) -> Sequence[Cell]:
    wanted, present = scale["spec"].get("replicas", 0), scale["status"].get("replicas", 0)
    return name_of(scale), wanted, present, age_of(scale, now)


SCALE = Columns((NAME, number("Desired"), number("Available"), AGE), _scale)


def _deployment(deployment: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    return (
        name_of(deployment),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age_of(deployment, now),
        *template_cells(spec),
    )


DEPLOYMENT = Columns(
    (
        NAME,
        Column("Ready", description="The ready Pods, of the desired number."),
        Column("Up-to-date"),
        Column("Available"),
        AGE,
        *TEMPLATE,
    ),
    _deployment,
)


def _replica_set(replica_set: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = replica_set.get("spec", {}), replica_set.get("status", {})
    return (
        name_of(replica_set),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age_of(replica_set, now),
        *template_cells(spec),
    )


REPLICA_SET = Columns(
    (NAME, number("Desired"), number("Current"), number("Ready"), AGE, *TEMPLATE),
    _replica_set,
)


def _daemon_set(daemon_set: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = daemon_set.get("spec", {}), daemon_set.get("status", {})
    selector = spec.get("template", {}).get("spec", {}).get("nodeSelector")
    return (
        name_of(daemon_set),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels_text(selector),
        age_of(daemon_set, now),
        *template_cells(spec),
    )


DAEMON_SET = Columns(
    (
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        Column("Node Selector"),
        AGE,
        *TEMPLATE,
    ),
    _daemon_set,
)


def _controller_revision(revision: Wire, now: datetime) -> Sequence[Cell]:
    owners = revision["metadata"].get("ownerReferences", [])
    owner = next((owner for owner in owners if owner.get("controller")), None)
    return (
        name_of(revision),
        _owner_text(owner) if owner else NONE,
        revision.get("revision", 0),
        age_of(revision, now),
    )


def _owner_text(owner: Wire) -> str:
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = owner.get("kind", "").lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLER_REVISION = Columns(
    (NAME, Column("Controller"), Column("Revision"), AGE), _controller_revision
)
