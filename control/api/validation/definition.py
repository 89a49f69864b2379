"""Validate CustomResourceDefinitions; the checks are imported when there is one. Pure."""

from control.api.cluster import CustomResourceDefinition as Definition
from control.api.field import FieldError


def validate_definition(definition: Definition) -> list[FieldError]:
    """Check a definition, new or not."""
    from control.api.custom import check

    return check.validate(definition)


def validate_definition_update(new: Definition, old: Definition) -> list[FieldError]:
    """Check what may not change."""
    from control.api.custom import check

    return check.validate_update(new, old)
