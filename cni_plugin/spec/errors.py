"""The errors of a CNI plugin. Each becomes one JSON document on standard output.

Source: CNI specification 1.1.0, section 5, "Error".
"""

from typing import Any


class CniError(Exception):
    """An error with a code of the CNI specification.

    ``message`` is one line: the object and the problem. ``details`` has the remedy, or the words of
    the kernel, the parser or another plugin.
    """

    code = 100  # podwire's own, for errors without a code in the specification

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def document(self, cni_version: str) -> dict[str, Any]:
        """The error as a JSON document of the specification."""
        document = {"cniVersion": cni_version, "code": self.code, "msg": self.message}
        return document | ({"details": self.details} if self.details else {})


class IncompatibleVersionError(CniError):
    """The configuration's version is not supported, or does not have the verb."""

    code = 1


class UnsupportedFieldError(CniError):
    """This plugin or this kernel does not support a field of the configuration."""

    code = 2


class UnknownContainerError(CniError):
    """The container's network namespace does not exist."""

    code = 3


class InvalidEnvironmentError(CniError):
    """A CNI_* variable is missing or malformed."""

    code = 4


class InputOutputError(CniError):
    """Standard input, a file or a socket failed."""

    code = 5


class DecodingError(CniError):
    """The configuration is no JSON, or has values of wrong types."""

    code = 6


class InvalidConfigurationError(CniError):
    """The configuration is well formed, but its values are wrong or conflict with the host."""

    code = 7


class TryAgainLaterError(CniError):
    """A later call may succeed."""

    code = 11


class NotAvailableError(CniError):
    """STATUS: no ADD can succeed now."""

    code = 50


class OperationRefusedError(CniError):
    """The kernel or the packet filter refused an operation."""

    code = 100


class CheckFailedError(CniError):
    """CHECK found that the attachment has changed since ADD."""

    code = 101


class AddressesExhaustedError(CniError):
    """No address of a range set is free."""

    code = 102


class RemovalFailedError(CniError):
    """GC could not remove everything."""

    code = 104


class DelegateError(CniError):
    """An IPAM plugin failed. The error has that plugin's code, or 103."""

    def __init__(self, message: str, details: str = "", code: int = 103) -> None:
        super().__init__(message, details)
        self.code = code
