"""The errors of a patch."""


class MalformedPatchError(ValueError):
    """A malformed patch (400)."""


class PatchConflictError(ValueError):
    """A patch that does not fit the object (422)."""


class PatchTooLargeError(ValueError):
    """A patch with too many operations (413)."""
