"""What can be wrong with a patch."""


class MalformedPatchError(ValueError):
    """A patch that is malformed (400)."""


class PatchConflictError(ValueError):
    """A patch that does not fit the object (422)."""
