"""TTL after finished: removes Jobs some seconds after their end. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.batch import Job
from control.api.times import seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete
from control.controllers.job.outcome import ended_as
from control.controllers.loop import Source, itself
from control.controllers.pods import condition
from control.controllers.state import ClusterState


class TTLAfterFinishedController:
    """Deletes ended Jobs with ``ttlSecondsAfterFinished``, and then their Pods."""

    component = "ttl-after-finished-controller"
    sources = (Source(kinds.JOB, itself),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Delete the Job ``key`` if its time has come, or look again then."""
        job = cluster[kinds.JOB].get(*key)
        if job is None or job.metadata.deletion_timestamp is not None:
            return
        ttl, at = job.spec.ttl_seconds_after_finished, _ended_at(job)
        if ttl is None or at is None:
            return
        if at + ttl > now:
            yield Again(at + ttl - now)
        else:
            yield Delete(kinds.JOB, job, "Foreground")


def _ended_at(job: Job) -> float | None:
    found = condition(job.status.conditions, ended_as(job))
    return seconds_of(found.last_transition_time) if found else None
