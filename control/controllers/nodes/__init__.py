"""Nodes: their Pod ranges, whether they live, and what happens to their Pods if not."""
