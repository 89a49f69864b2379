"""The iptables backend: keeps both families' rules at the desired state."""

import logging
from collections.abc import Mapping

from proxy.desired import Desired
from proxy.errors import KernelRefused
from proxy.iptables.cleanup import removal
from proxy.iptables.load import CHUNK, load
from proxy.iptables.observe import Observed, parse
from proxy.iptables.ruleset import Ruleset
from proxy.iptables.tool import Flavor, Tool, detect, in_use
from proxy.model import Family, NodeView
from proxy.settings import Settings

log = logging.getLogger("podwire.proxy.iptables")


class FamilyBackend:
    """One family's rules."""

    def __init__(self, tool: Tool, settings: Settings) -> None:
        self._tool = tool
        self._ruleset = Ruleset(tool.family, settings)
        self._known = False  # whether the kernel holds what the ruleset says

    def apply(self, want: Desired, node: NodeView) -> None:
        """Commit what changed; after a failure, or at the start, everything."""
        change = self._ruleset.update(want, node)
        known, self._known = self._known, False
        if not known:
            self._load()
        elif change:
            self._tool.restore(change.text())
        self._known = True

    def _load(self) -> None:
        """Write everything, but for Services whose rules this kernel refuses: a module that one
        Service needs (SCTP, affinity) may be missing, and the others cannot help it.
        """
        observed = parse(self._tool.save())
        while True:
            try:
                self._write_all(observed)
            except KernelRefused as err:
                culprit = self._ruleset.owner(err.line)
                if culprit is None:
                    raise
                log.error("Service %s is not served: %s", "/".join(culprit), err)
                self._ruleset.leave_out(culprit)
            else:
                return

    def _write_all(self, observed: Observed) -> None:
        chunk = CHUNK if self._tool.flavor is Flavor.NFT else None
        for step in load(self._ruleset, observed, chunk):
            self._tool.restore(step.text())


class IptablesBackend:
    """Both families, with the tools of one flavor."""

    def __init__(self, settings: Settings, flavor: Flavor) -> None:
        self._families = [FamilyBackend(Tool(one, flavor), settings) for one in settings.families]

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring both families to ``want``; a failure of one does not stop the other."""
        failures = []
        for family in self._families:
            try:
                family.apply(want, node)
            except KernelRefused as err:
                failures.append(str(err))
        if failures:
            raise KernelRefused("; ".join(failures))

    def remove(self) -> None:
        """Remove our rules from both families and both flavors; nothing of anybody else's."""
        for family in Family:
            for flavor in Flavor:
                if in_use(family, flavor):
                    tool = Tool(family, flavor)
                    if transaction := removal(parse(tool.save())):
                        tool.restore(transaction)


def open_backend(settings: Settings, options: Mapping[str, str]) -> IptablesBackend:
    """``options["flavor"]`` is legacy, nft, or auto: whichever this node already uses."""
    wanted = options.get("flavor", "auto")
    flavor = detect() if wanted == "auto" else Flavor(wanted)
    log.info("using iptables-%s", flavor)
    return IptablesBackend(settings, flavor)
