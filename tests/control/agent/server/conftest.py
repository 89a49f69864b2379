"""The agent's server, for every module that asks it."""

from tests.support.control.agent_server import agent

__all__ = ["agent"]
