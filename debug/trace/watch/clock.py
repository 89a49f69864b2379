"""The clock of eBPF programs, as the time of the day."""

import time

_TRIES = 5


def clock_offset() -> int:
    """Return the nanoseconds from the monotonic clock to that of the day: of the shortest look."""

    def look() -> tuple[int, int]:
        before, now, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        return after - before, now - (before + after) // 2

    return min(look() for _ in range(_TRIES))[1]
