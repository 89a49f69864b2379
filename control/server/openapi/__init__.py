"""The schemas of all kinds, derived from their models."""
