"""The errors that a command reports in one line, as they are."""


class ReportedError(Exception):
    """An error for the user: its text names the object, the operation, the cause and what to do."""
