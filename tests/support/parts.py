"""Command lines of podwire's parts, as bin/podwire begins them.

Its loader imports without garbage collections and without the system's certificate authorities: an
agent of a module of its own would take half as long again of a processor to begin.
"""

import sys


def program(name: str) -> tuple[str, ...]:
    """Return the words that begin ``podwire NAME``."""
    return (sys.executable, "-P", "-m", "lab.main", name)
