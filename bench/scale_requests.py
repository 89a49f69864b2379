"""How many requests of each kind an API server has answered, by its own metrics."""

import re
from collections import Counter
from collections.abc import Mapping

_LINE = re.compile(r"apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_FEWEST = 0.01  # a Pod: others have nothing to do with Pods


def counted(metrics: str) -> Counter[str]:
    """Return the requests by ``VERB resource/subresource``, from the text of ``/metrics``."""
    found: Counter[str] = Counter()
    for line in _LINE.finditer(metrics):
        labels = dict(_LABEL.findall(line["labels"]))
        place = "/".join(filter(None, (labels["resource"], labels["subresource"])))
        found[f"{labels['verb']} {place}"] += int(float(line["count"]))
    return found


def for_each(before: Mapping[str, int], after: Mapping[str, int], pods: int) -> dict[str, float]:
    """Return the requests between two counts for each Pod, the most frequent first."""
    more = {name: (count - before.get(name, 0)) / pods for name, count in after.items()}
    often = [(name, each) for name, each in more.items() if each >= _FEWEST]
    return dict(sorted(often, key=lambda it: (-it[1], it[0])))
