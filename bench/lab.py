"""The seconds from ``podwire lab node add`` to a node that is Ready, as a user waits for it.

    bin/bench lab [--nodes 3] [--rounds 5]

Makes a lab, adds a node and removes it, round after round, and ends the lab. Fails if the median is
over 1.5 s. The time is that of the whole command: its start, the machine, its parts, and its Node.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

MOST_SECONDS = 1.5


def podwire(*words: str) -> str:
    """Run a podwire command, and return its output; raises CalledProcessError."""
    argv = [sys.executable, "-P", "-m", "lab.main", *words]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def rounds(name: str, count: int) -> list[float]:
    """Return the seconds of each round."""
    found = []
    for _ in range(count):
        began = time.monotonic()
        podwire("lab", "node", "add", f"--name={name}", "bench")
        found.append(time.monotonic() - began)
        podwire("lab", "node", "remove", f"--name={name}", "--force", "bench")
    return found


def main() -> None:
    """Measure, print, and fail over the limit."""
    parser = argparse.ArgumentParser(prog="bin/bench lab", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3, help="of the lab before")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    name = f"bench{os.getpid()}"
    podwire("lab", "up", f"--name={name}", f"--nodes={options.nodes}", "--no-demo")
    try:
        found = rounds(name, options.rounds)
    finally:
        podwire("lab", "down", f"--name={name}")
    median = statistics.median(found)
    print(
        f"node add to Ready: {median:.2f} s ({min(found):.2f} to {max(found):.2f} s, "
        f"{options.rounds} rounds beside {options.nodes} nodes); limit {MOST_SECONDS} s"
    )
    if median > MOST_SECONDS:
        sys.exit(f"node add takes {median:.2f} s, more than {MOST_SECONDS} s")


if __name__ == "__main__":
    main()
