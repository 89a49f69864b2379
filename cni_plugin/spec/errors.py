"""The errors a CNI plugin answers with; every one becomes one JSON document on stdout.

Source: CNI specification 1.1.0, section 5, "Error".
"""

from typing import Any


class CniError(Exception):
    """An error with a code of the CNI specification.

    ``message`` says in one line what went wrong with which object; ``details`` says what to do
    or shows what the kernel, another plugin or the parser said.
    """

    code = 100  # our own: anything that the specification has no code for

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def document(self, cni_version: str) -> dict[str, Any]:
        """The error as the specification wants it written."""
        document = {"cniVersion": cni_version, "code": self.code, "msg": self.message}
        return document | ({"details": self.details} if self.details else {})


class IncompatibleVersionError(CniError):
    """The configuration asks for a version, or an operation that its version does not have."""

    code = 1


class UnsupportedFieldError(CniError):
    """The configuration asks for something that this plugin, or this kernel, cannot do."""

    code = 2


class UnknownContainerError(CniError):
    """The container's network namespace is gone, or was never there."""

    code = 3


class InvalidEnvironmentError(CniError):
    """A CNI_* variable is missing or malformed."""

    code = 4


class InputOutputError(CniError):
    """Standard input, a file or a socket failed."""

    code = 5


class DecodingError(CniError):
    """The configuration is no JSON, or has values of the wrong type."""

    code = 6


class InvalidConfigurationError(CniError):
    """The configuration is well formed, and makes no sense."""

    code = 7


class TryAgainLaterError(CniError):
    """What stands in the way will pass."""

    code = 11


class NotAvailableError(CniError):
    """STATUS: no ADD can succeed now."""

    code = 50


class OperationRefusedError(CniError):
    """The kernel refused an operation that the plan needed."""

    code = 100


class CheckFailedError(CniError):
    """CHECK found the attachment in another state than ADD left it in."""

    code = 101


class AddressesExhaustedError(CniError):
    """No address of a range is free."""

    code = 102


class RemovalFailedError(CniError):
    """Something that was to be removed is still there."""

    code = 104


class DelegateError(CniError):
    """Another plugin failed; it keeps the code that it gave."""

    def __init__(self, message: str, details: str = "", code: int = 103) -> None:
        super().__init__(message, details)
        self.code = code
