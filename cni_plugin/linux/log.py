"""Log messages: to the server's log, or without a server to standard error.

A call without a server rarely logs, and importing ``logging`` takes 4 ms.
"""

import os
import sys


def warn(text: str, *values: object) -> None:
    """Log a warning for the administrator."""
    _log("WARNING", text % values)


def report_bug(err: Exception) -> None:
    """Log an unexpected exception with its traceback."""
    import traceback  # importing it takes 5 ms

    _log("ERROR", f"podwire-cni has a bug\n{''.join(traceback.format_exception(err)).rstrip()}")


def _log(level: str, text: str) -> None:
    if logging := sys.modules.get("logging"):
        logging.getLogger(__package__).log(getattr(logging, level), "%s", text)
    else:
        os.write(2, f"podwire-cni: {level}: {text}\n".encode(errors="replace"))
