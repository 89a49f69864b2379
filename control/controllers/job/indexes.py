"""The completion indexes of Indexed Jobs, and their text: ``1,3-5,7``. Pure."""

from collections.abc import Iterable

from control.api.pod import Pod

LABEL = "batch.kubernetes.io/job-completion-index"


def parse_indexes(text: str | None, below: int) -> set[int]:
    """Read indexes; those that are no number, or not below the Job's number, are left out."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), min(int(last or first), below - 1) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Write indexes, neighbors as a range; two neighbors are ``1,2``, as upstream writes them."""
    parts: list[str] = []
    run: list[int] = []
    for index in sorted(indexes):
        if run and index != run[-1] + 1:
            parts.append(_run(run))
            run = []
        run.append(index)
    return ",".join([*parts, _run(run)] if run else parts)


def _run(run: list[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]}{',' if len(run) == 2 else '-'}{run[-1]}"


def index_of(pod: Pod) -> int:
    """Return the completion index of a Pod; -1 if it has none."""
    text = pod.metadata.annotations.get(LABEL, "")
    return int(text) if text.isdecimal() else -1
