"""Runs controllers: changes become keys, keys become actions, actions become requests.

informers ──change──► sources ──key──► queue ──► reconcile(cluster, key, now) ──► actions
    ▲                                                  (pure)                        │
    └────────────── learn: what our own requests changed ◄── execute ◄───────────────┘
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from control.api.kinds import API_SERVICE, DEFINITION, Kind
from control.api.meta import Object
from control.client import ApiError, Client, ClientError, Informer, UnreachableError
from control.client.cache import Key
from control.client.events import EventRecorder
from control.controllers.actions import Action
from control.controllers.added import AddedKinds
from control.controllers.execute import Executor
from control.controllers.garbage.contents import NotEmptyError
from control.controllers.queue import WorkQueue
from control.controllers.queue_metrics import QueueMetrics
from control.controllers.state import ClusterState, Table
from control.metrics import Registry

logger = logging.getLogger(__name__)

_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Source:
    """The keys to reconcile when an object of this kind changes.

    ``when`` (old, new) is False for changes that have no effect.
    """

    kind: Kind
    keys: Callable[[ClusterState, Any], Iterable[Key]]
    when: Callable[[Any, Any], bool] = lambda *_: True


class Controller(Protocol):
    """Reconciles the objects of one kind with their specs."""

    @property
    def component(self) -> str:
        """The controller's name in Events, such as ``replicaset-controller``."""

    @property
    def sources(self) -> Sequence[Source]:
        """The kinds that the controller follows."""

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterable[Action]:
        """Return the actions for a key at ``now`` (seconds since the epoch). Pure."""


@runtime_checkable
class FollowsCustomKinds(Protocol):
    """A controller that also follows the kinds of definitions and of extension servers."""

    def custom_source(self, kind: Kind) -> Source:
        """Return the keys to reconcile when an object of such a kind changes."""

    def waiting_for(self, kind: Kind) -> Iterable[Key]:
        """Return the keys to reconcile once such a kind is followed."""


@runtime_checkable
class Explains(Protocol):
    """A controller that shows refused requests in its objects."""

    def refused(
        self, cluster: ClusterState, key: Key, now: float, error: ApiError
    ) -> Iterable[Action]:
        """Return the actions after a refused request, before the round is tried again."""


def itself(_: ClusterState, item: Object) -> Iterable[Key]:
    """Yield the key of the object that changed."""
    yield item.key


def namespace_if_named(name: str) -> Callable[[ClusterState, Object], Iterable[Key]]:
    """Return what yields the key of the namespace of an object with this name."""

    def keys(_: ClusterState, item: Object) -> Iterable[Key]:
        if item.metadata.name == name:
            yield "", item.metadata.namespace or ""

    return keys


class Manager:
    """Runs all controllers of a process on shared informers."""

    def __init__(
        self,
        client: Client,
        controllers: Sequence[Controller],
        clock: Callable[[], float] = time.time,
        client_of: Callable[[str], Client] | None = None,
        registry: Registry | None = None,
    ) -> None:
        """``client_of`` returns the client of a component; default: ``client`` for all.

        ``registry`` gets the metrics of the queues.
        """
        self._client = client
        self._client_of = client_of or (lambda _: client)
        self._controllers = controllers
        self._clock = clock
        wanted = dict.fromkeys(s.kind for c in controllers for s in c.sources)
        self.cluster = ClusterState(wanted)
        self.informers = {
            kind: Informer(client, kind, on_recovery=self._answered_again) for kind in wanted
        }
        self._queues: dict[str, WorkQueue[Key]] = {}
        self._metrics = QueueMetrics(registry or Registry(), self._queues)
        self._added = AddedKinds(self._follow, self._forget)
        self._following: dict[Kind, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Follow the cluster and reconcile for ever."""
        for kind, informer in self.informers.items():
            informer.subscribe(self.cluster[kind].apply)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for informer in self.informers.values():
                tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            # With incomplete caches, controllers would delete objects whose owners are missing.
            for informer in self.informers.values():
                await informer.synced.wait()
            self._answered_again()
            logger.info("caches are filled: %d kinds", len(self.informers))
            for controller in self._controllers:
                tasks.create_task(self._drive(controller), name=controller.component)
            if DEFINITION in self.informers:
                self.informers[DEFINITION].subscribe(self._added.custom.apply)
            if API_SERVICE in self.informers:
                self.informers[API_SERVICE].subscribe(self._added.extensions.look)
                looks = self._added.extensions.run(self._client)
                tasks.create_task(looks, name="extension kinds")

    def _follow(self, kind: Kind) -> None:
        """Follow the objects of a kind that is served from now on."""
        if self._tasks is None:
            raise RuntimeError("the manager does not run")
        task = self._tasks.create_task(self._follow_custom(kind), name=f"informer {kind.plural}")
        self._following[kind] = task

    def _forget(self, kind: Kind) -> None:
        """Follow a kind no more; nobody knows then whether its objects exist."""
        self._following.pop(kind).cancel()

    async def _follow_custom(self, kind: Kind) -> None:
        """Show the objects of such a kind to controllers, once all are known, for ever."""
        informer, table = Informer(self._client, kind), Table(kind)
        informer.subscribe(table.apply)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(informer.run())
                await informer.synced.wait()
                self.informers[kind], self.cluster.tables[kind] = informer, table
                for controller in self._controllers:
                    if isinstance(controller, FollowsCustomKinds):
                        queue = self._queues.setdefault(controller.component, WorkQueue())
                        informer.subscribe(self._enqueuer(controller.custom_source(kind), queue))
                        for key in controller.waiting_for(kind):
                            queue.add(key)
        finally:
            if self.informers.get(kind) is informer:  # and not that of the kind that came again
                del self.informers[kind], self.cluster.tables[kind]

    def _answered_again(self) -> None:
        self.cluster.contact = self._clock()

    async def _drive(self, controller: Controller) -> None:
        queue = self._queues.setdefault(controller.component, WorkQueue())
        self._metrics.follow(controller.component, queue)
        for source in controller.sources:
            self.informers[source.kind].subscribe(self._enqueuer(source, queue))
        client = self._client_of(controller.component)
        async with EventRecorder(client, controller.component) as recorder:
            executor = Executor(client, self.informers, recorder)
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(_WORKERS):
                        tasks.create_task(self._work(controller, queue, executor))
            finally:
                queue.close()

    def _enqueuer(self, source: Source, queue: WorkQueue[Key]) -> Callable[..., None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if not source.when(old, new):
                return
            for item in (old, new):
                if item is not None:
                    for key in source.keys(self.cluster, item):
                        queue.add(key)

        return changed

    async def _work(
        self, controller: Controller, queue: WorkQueue[Key], executor: Executor
    ) -> None:
        while True:
            key = await queue.get()
            began = time.monotonic()
            try:
                await self._round(controller, key, queue, executor)
            except ClientError as err:
                if isinstance(err, UnreachableError):
                    self._answered_again()  # at the earliest
                level = logging.DEBUG if _expected(err) else logging.WARNING
                logger.log(level, "%s %s: %s", controller.component, "/".join(key), err)
                queue.retry(key)
            except Exception:  # a defect shown by one object must not stop the others
                logger.exception("%s %s failed", controller.component, "/".join(key))
                queue.retry(key)
            finally:
                self._metrics.work.observe(controller.component, value=time.monotonic() - began)
                queue.done(key)

    async def _round(
        self, controller: Controller, key: Key, queue: WorkQueue[Key], executor: Executor
    ) -> None:
        try:
            actions = list(controller.reconcile(self.cluster, key, self._clock()))
            again = await executor.carry_out(actions)
        except ApiError as err:
            if isinstance(controller, Explains) and not _expected(err):
                refused = controller.refused(self.cluster, key, self._clock(), err)
                await executor.carry_out(refused)
            raise
        queue.forget(key)
        if again is not None:
            queue.add_after(key, again)


def _expected(err: ClientError) -> bool:
    """True for errors of normal operation: a concurrent write, or a terminating namespace."""
    if isinstance(err, ApiError):
        return err.conflict or err.already_exists or err.namespace_terminating
    return isinstance(err, NotEmptyError)
