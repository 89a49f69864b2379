"""What can be wrong with a patch."""


class BadPatch(ValueError):
    """A patch that is malformed (400)."""


class CannotApply(ValueError):
    """A patch that does not fit the object (422)."""
