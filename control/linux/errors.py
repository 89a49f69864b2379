"""Causes of errors in words, for messages to users."""


def cause(err: Exception) -> str:
    """Return an error's cause: for a system call its text and file, without the number."""
    if not isinstance(err, OSError) or err.strerror is None:
        return str(err)
    return f"{err.strerror}: {err.filename}" if err.filename else err.strerror
