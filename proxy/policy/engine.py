"""The loop: policies, Pods and namespaces change, and the kernel follows.

Pods and namespaces are followed while there is a policy. So a cluster without policies pays for
nothing but one watch.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from typing import TypeVar

from control.client import Client, Informer
from proxy.backends.nftables.observe import disturbance
from proxy.linux.links import LinkListener
from proxy.linux.nft_events import NftListener
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Key
from proxy.objects.feed import KeptObject
from proxy.objects.parse import Complaints
from proxy.policy import kernel, wire
from proxy.policy.bridge.guard import FrameGuard, Surroundings, release
from proxy.policy.drops.page import drops_page
from proxy.policy.drops.watch import DropWatch, View
from proxy.policy.index import PolicyIndex
from proxy.policy.kernel import RuleChange, RuleWriter
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.peers.taken import TakenAddresses
from proxy.policy.render import TABLE, TAKEN
from proxy.policy.ruleset import PolicyRuleset
from proxy.policy.tiers.feed import ClusterPolicyFeed
from proxy.policy.values import ClusterPolicy, Namespace, Pod, Policy
from proxy.status.events import Reporter
from proxy.status.web import Handler

logger = logging.getLogger("podwire.proxy.policy")

Value = TypeVar("Value")

_FIRST_RETRY, _LAST_RETRY = 0.1, 10.0


class PolicyEngine:
    """Enforces NetworkPolicies on this node. ``run`` it as a task."""

    def __init__(
        self, client: Client, around: Surroundings, report: Reporter, drops: DropWatch
    ) -> None:
        self._client = client
        self._drops = drops
        self._around = around
        self._report = report
        self.index = PolicyIndex()
        self._dirty = asyncio.Event()
        self.ready = asyncio.Event()  # set once all policies were listed
        self._writer = RuleWriter()
        self._links: LinkListener | None = None
        self._events: NftListener | None = None
        self._rulesets: tuple[PolicyRuleset, ...] | None = None  # None: the kernel is unknown
        self._is_doubtful = False  # whether the kernel refused a change, or others changed rules
        self._told = ""
        self._frames = FrameGuard(self.index, around)
        self._taken = TakenAddresses(self.index)

    @property
    def is_guarding(self) -> bool:
        """True while there are policies."""
        return not self.index.is_empty

    @property
    def needs_bridge_filter(self) -> bool:
        """True while bridges have to pass their frames to the rules of policies."""
        return self.is_guarding and not self._frames.by_programs

    def changed(self) -> None:
        """Look again: an object, the node or a setting changed. Call it on the event loop."""
        self._dirty.set()

    async def run(self) -> None:
        """Enforce until cancelled. What an earlier run wrote stays until policies were listed."""
        informer = Informer(self._client, wire.NETWORK_POLICY, keep=_keep_policy)
        cluster = ClusterPolicyFeed(self._client, self._take_cluster_policy)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            group.create_task(cluster.run())
            await informer.synced.wait()
            await cluster.known.wait()
            await self._frames.begin()
            informer.subscribe(self._take_policy)
            await self._serve()

    async def _serve(self) -> None:
        while True:
            if self.is_guarding:
                view = View(self.index, self._around.node, self._around.settings)
                async with self._following(), self._drops.watching(view, self._report):
                    with self._hearing():
                        while self.is_guarding:
                            await self._sync(self._write)
                            await self._dirty.wait()
            await self._sync(self._clear)
            while not self.is_guarding:  # changes of Services ask for nothing here
                await self._dirty.wait()
                self._dirty.clear()

    async def _sync(self, act: Callable[[], RuleChange]) -> None:
        """Bring the kernel to the present state, however often it refuses."""
        retry = _FIRST_RETRY
        while True:
            self._dirty.clear()
            try:
                by_programs, change = self._frames.by_programs, act()
                async with self._drops.renewing() if change.renews else nullcontext():
                    await asyncio.to_thread(self._commit, change)
                if by_programs != self._frames.by_programs:
                    self._around.guarding()
            except KernelRefusedError as err:
                self._forget_kernel()
                self._is_doubtful = True
                self._tell(f"the kernel refused the policies' rules: {err}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._dirty.wait(), retry)
                retry = min(retry * 2, _LAST_RETRY)
                continue
            self._taken.opened()
            self.ready.set()
            return

    def _commit(self, change: RuleChange) -> None:
        """Write a change: the programs' entries that go, the rules, and the entries that come."""
        self._frames.before()
        if change:
            with self._events.deaf() if self._events else nullcontext():
                self._writer.commit(change)
        self._frames.after()

    def _write(self) -> RuleChange:
        """Return the transaction to the present state."""
        node, settings = self._around.node(), self._around.settings()
        is_new, wrong = self._frames.look()
        if wrong is not None:
            self._tell(wrong)
        bridges = self._frames.bridges
        if is_new:
            self._forget_kernel()
        if self._rulesets is None:
            self._taken.begin_anew(settings.families)
            everything = self.index.everything()
            rulesets = tuple(PolicyRuleset(one, self.index) for one in settings.families)
            # Who disturbs the rules while these are written is noted for the next time.
            doubtful, self._is_doubtful = self._is_doubtful, False
            clear = kernel.deletion if doubtful else kernel.clearing
            text = "".join(
                clear(one.family) + one.restart(everything, node.pod_cidrs, bridges)
                for one in rulesets
            )
            text += self._taken.closing(settings.families, kept=not doubtful)
            text += self._frames.plan(everything, self._taken.inherited(), whole=True)
            self._rulesets = rulesets
            return RuleChange(text, renews=True)
        self._look_at_taken()
        changes = self.index.take()
        parts = [
            (one.family, one.advance(changes, node.pod_cidrs, bridges)) for one in self._rulesets
        ]
        parts += self._taken.opening(settings.families)
        text = self._frames.plan(changes, self._taken.inherited(), whole=False)
        return RuleChange(text, parts)

    def _forget_kernel(self) -> None:
        """Have the tables written anew, without the addresses that containers have got by now."""
        self._look_at_taken()
        self._rulesets = None

    def _look_at_taken(self) -> None:
        if self._rulesets is not None:
            self._taken.look(one.family for one in self._rulesets)

    def _clear(self) -> RuleChange:
        """Return the transaction that leaves nothing of ours."""
        self._rulesets = None
        self._frames.forget()
        return RuleChange(kernel.removal())

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        """Hear of interfaces and of other programs' rules while the context lasts.

        Without policies this would be a turn of the loop for each rule that anybody writes.
        """
        with (
            closing(NftListener()) as events,
            closing(LinkListener(addresses=True)) as links,
            closing(self._writer),
            closing(self._taken),
        ):
            self._events, self._links = events, links
            events.listen()
            try:
                with _reading(links, self._hear_links), _reading(events, self._hear):
                    yield
            finally:
                self._events = self._links = None

    def _hear_links(self) -> None:
        if self._links is not None and self._links.has_events():
            self._frames.heard()
            self.changed()

    def _hear(self) -> None:
        events = self._events.read() if self._events else []
        if any(one.table == TABLE and one.name == TAKEN for one in events):
            self.changed()
        what = disturbance((one for one in events if one.name != TAKEN), TABLE)
        if what and self._rulesets is not None:
            why = f"another program changed the rules of policies: {what}; writing them again"
            logger.warning("%s", why)
            self._report.about_node("NetworkPolicyRulesDisturbed", why)
            self._forget_kernel()
            self._is_doubtful = True  # to delete the table is quicker, too
            self.changed()

    def _tell(self, wrong: str) -> None:
        """Report once what keeps policies from holding."""
        if wrong and wrong != self._told:
            logger.error("%s", wrong)
            self._report.about_node("NetworkPolicyNotEnforced", f"{wrong}.")
        self._told = wrong

    def _take_policy(self, old: KeptObject[Policy] | None, new: KeptObject[Policy] | None) -> None:
        was = self.is_guarding
        for line in new.complaints if new else ():
            logger.warning("%s", line)
        self.index.set_policy(_key(old, new), new.value if new else None)
        self.changed()
        if was != self.is_guarding:
            self._around.guarding()

    def _take_cluster_policy(
        self, old: KeptObject[ClusterPolicy] | None, new: KeptObject[ClusterPolicy] | None
    ) -> None:
        was = self.is_guarding
        for line in new.complaints if new else ():
            logger.warning("%s", line)
        self.index.set_cluster_policy(_key(old, new)[1], new.value if new else None)
        self.changed()
        if was != self.is_guarding:
            self._around.guarding()

    def _take_pod(self, old: KeptObject[Pod] | None, new: KeptObject[Pod] | None) -> None:
        if new and new.value and new.value.is_local:  # first, who had its address until now
            self._look_at_taken()
        self.index.set_pod(_key(old, new), new.value if new else None)
        if old and (new is None or new.uid != old.uid):
            self.index.forget_owner(old.uid)
        self.changed()

    def _take_namespace(
        self, old: KeptObject[Namespace] | None, new: KeptObject[Namespace] | None
    ) -> None:
        self.index.set_namespace(_key(old, new)[1], new.value if new else None)
        self.changed()

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        """Follow Pods and namespaces while the context lasts; it begins when all were listed."""
        node_name = self._around.node().name
        pods = Informer(self._client, wire.POD, keep=lambda one: _keep_pod(one, node_name))
        namespaces = Informer(self._client, wire.NAMESPACE, keep=_keep_namespace)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in (pods, namespaces)]
            await namespaces.synced.wait()
            await pods.synced.wait()
            namespaces.subscribe(self._take_namespace)
            pods.subscribe(self._take_pod)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.index.forget_pods()


class PolicyGuard:
    """Keeps an engine running. A defect of it harms no Service, and its rules stay meanwhile."""

    def __init__(self, client: Client, around: Surroundings, *, enabled: bool) -> None:
        """Without ``enabled`` there are no policies here."""
        self._client = client
        self._around = around
        self._enabled = enabled
        self.engine: PolicyEngine | None = None
        self.drops = DropWatch()

    @property
    def needs_bridge_filter(self) -> bool:
        """See ``PolicyEngine``."""
        return self.engine is not None and self.engine.needs_bridge_filter

    def changed(self) -> None:
        """See ``PolicyEngine``."""
        if self.engine is not None:
            self.engine.changed()

    def look(self) -> None:
        """Look whether other programs decide on frames, or on those of other ports.

        Call it when the proxy's backend has written a state.
        """
        self._around.synced.set()
        if self.engine is not None and self.engine.is_guarding:
            self.engine.changed()

    def text(self) -> str:
        """Return metrics of policies; they are a second old at most."""
        return self.drops.counts.text() if self._enabled else ""

    def pages(self) -> Mapping[str, Handler]:
        """Return what the proxy's HTTP server shows of policies."""
        node = self._around.node
        return {"/policy/drops": lambda one: drops_page(one, self.drops, node().name)}

    @asynccontextmanager
    async def guarding(self, report: Reporter) -> AsyncIterator[None]:
        """Enforce policies while the context lasts."""
        task = asyncio.create_task(self._run(report))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, report: Reporter) -> None:
        if not self._enabled:
            await asyncio.to_thread(kernel.remove)
            await asyncio.to_thread(release)
            return
        while True:
            self.engine = PolicyEngine(self._client, self._around, report, self.drops)
            try:
                await self.engine.run()
            except Exception as err:  # a defect: what it wrote stays in force
                logger.exception("the policies' loop failed; it begins anew")
                report.about_node("NetworkPolicyNotEnforced", f"the policies' loop failed: {err!r}")
            await asyncio.sleep(_LAST_RETRY)


def _keep_policy(one: wire.NetworkPolicy) -> KeptObject[Policy]:
    complaints = Complaints(f"NetworkPolicy {'/'.join(one.key)}")
    value = parse_policy(one, complaints)
    return KeptObject(one.key, one.uid, one.resource_version, value, tuple(complaints.lines))


def _keep_pod(one: wire.Pod, node_name: str) -> KeptObject[Pod]:
    return KeptObject(one.key, one.uid, one.resource_version, parse_pod(one, node_name), ())


def _keep_namespace(one: wire.Namespace) -> KeptObject[Namespace]:
    return KeptObject(one.key, one.uid, one.resource_version, parse_namespace(one), ())


def _key(old: KeptObject[Value] | None, new: KeptObject[Value] | None) -> Key:
    either = new or old
    return either.key if either else ("", "")


@contextmanager
def _reading(source: LinkListener | NftListener, heard: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_reader(source, heard)
    try:
        yield
    finally:
        loop.remove_reader(source)
