"""The schemas of all kinds, derived from their models, as OpenAPI v2 and v3."""
