"""The media types of request bodies and responses. Pure."""

JSON = "application/json"
YAML = "application/yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
# What the body of an object may be, in upstream's order.
OBJECTS = (JSON, YAML, PROTOBUF)


def media_type(content_type: str) -> str:
    """Return the type of a Content-Type header in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()
