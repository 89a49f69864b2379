"""The agent's HTTPS server: logs, exec and health, for the API server to pass on."""
