"""Removes all that proxies have left on a node."""

from contextlib import closing

from proxy.backends.base import BACKENDS, open_backend
from proxy.config import ProxyConfig
from proxy.counters.counting import ServiceCounters
from proxy.desired.desired import Desired
from proxy.flows.record import FlowRecord
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.model.settings import CounterDetail
from proxy.policy.kernel import remove as remove_policies


def clean_up(config: ProxyConfig) -> None:
    """Remove the rules of every backend and of policies, the counters, and the record of flows.

    The Pods' bridges are left filtered: whichever proxy comes next may need it.
    """
    ServiceCounters(config.settings, CounterDetail.OFF).apply(Desired())
    for mode in BACKENDS:
        open_backend(mode, config.settings, config.backend_options).remove()
    FlowRecord().remove()
    remove_policies()
    with closing(LinkListener(addresses=True)) as links:
        PodBridges(config.settings.pods, links).set(True, ())
