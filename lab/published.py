"""What a lab publishes on the host, as its folder keeps it: published.json.

The processes that publish end with the lab; a lab that starts again, or that is restored, opens the
same ports. The file has what ``podwire lab publish`` takes.
"""

import json
from pathlib import Path

from control.client import ClientError
from lab.goals import Published
from lab.publish import PublishError, Request, parse, publish, written
from lab.report import Steps
from lab.state import LabDir

NAME = "published.json"
_MOST, _MOST_BYTES = 1000, 1 << 20


def remember(lab: LabDir, one: Published) -> None:
    """Open a port again when the lab starts; the caller holds the lab's lock. Raises OSError."""
    others = [each for each in kept(lab) if not _same(each, one)]
    _write(lab, [*others, Request(one.address, one.port, one.goal)])


def forget(lab: LabDir, request: Request) -> bool:
    """Open a port no more; return False if it was not to be opened. Raises OSError."""
    have = kept(lab)
    rest = [each for each in have if not _same(each, request)]
    if len(rest) < len(have):
        _write(lab, rest)
    return len(rest) < len(have)


def kept(lab: LabDir) -> tuple[Request, ...]:
    """Return the ports that a lab publishes when it runs; raises PublishError, OSError."""
    return read(lab.path / NAME)


def read(path: Path) -> tuple[Request, ...]:
    """Read such a file, absent or not; raises PublishError, which names it, and OSError."""
    if not path.exists():
        return ()
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES)
    try:
        rows = json.loads(raw)["publish"]
        if not isinstance(rows, list) or len(rows) > _MOST:
            raise PublishError(f"want a list of at most {_MOST} ports")
        return tuple(parse(str(row)) for row in rows)
    except (ValueError, KeyError, TypeError, RecursionError, PublishError) as err:
        raise PublishError(f"{path}: {err}; remove the file, and publish the ports again") from err


def publish_again(lab: LabDir, steps: Steps) -> None:
    """Open the ports of a lab that has started; one that cannot be opened is told, and kept."""
    try:
        requests = kept(lab)
    except (PublishError, OSError) as err:
        with steps.step("published", animated=False) as say:
            return say(f"nothing is published: {err}")
    for request in requests:
        with steps.step("published", animated=False) as say:
            try:
                say(f"published: {publish(lab, request)}")
            except (PublishError, ClientError) as err:
                say(f"not published: {err}")
    return None


def _same(one: Request | Published, other: Request | Published) -> bool:
    """True if both have the same place on the host."""
    return (one.address, one.port, one.goal.protocol) == (
        other.address,
        other.port,
        other.goal.protocol,
    )


def _write(lab: LabDir, requests: list[Request]) -> None:
    lab.write(NAME, {"publish": [written(each) for each in requests]})
