"""The kinds that are served beside podwire's own: of definitions, and of extension servers."""

from control.api.kinds import Kind
from control.controllers.custom import Change, CustomKinds
from control.controllers.extensions import ExtensionKinds


class AddedKinds:
    """Tells of each such kind that comes and goes; of none twice.

    Its two halves are for the informer of definitions and for discovery.
    """

    def __init__(self, came: Change, went: Change) -> None:
        self._came = came
        self.custom = CustomKinds(self._defined, went)
        self.extensions = ExtensionKinds(came, went, self.custom.places)

    def _defined(self, kind: Kind) -> None:
        """Follow a kind by its definition, also if discovery has shown it first.

        The APIService of its group wakes discovery, maybe before the informer sees the definition.
        """
        self.extensions.leave(kind)
        self._came(kind)
