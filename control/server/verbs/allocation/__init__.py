"""Addresses and ports that no two Services may share."""
