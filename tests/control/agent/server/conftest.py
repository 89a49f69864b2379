"""The agent's server, for all test modules."""

from tests.support.control.agent_server import agent

__all__ = ["agent"]
