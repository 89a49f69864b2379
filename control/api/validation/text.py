"""Validate names, labels, ports and addresses, with upstream's messages. Pure.

Every function returns a list of messages, which is empty for valid text. Source:
k8s.io/apimachinery/pkg/util/validation
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, wraps

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_KEY = r"[-._a-zA-Z0-9]+"

_REMEMBERED_MAX = 128  # characters
NOT_NEGATIVE = "must be greater than or equal to 0"

Check = Callable[[str], list[str]]


def _pattern_message(message: str, pattern: str, *examples: str) -> str:
    shown = "".join(f"'{example}',  or " for example in examples[:-1]) + f"'{examples[-1]}'"
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


_TOO_LONG = "must be no more than"


def max_length(limit: int) -> str:
    """Return the message for text that is too long."""
    return f"{_TOO_LONG} {limit} characters"


def _in_bytes(message: str) -> str:
    """Return a message as upstream words it for the keys and values of labels."""
    return message.replace(" characters", " bytes") if message.startswith(_TOO_LONG) else message


def _checked(value: str, limit: int, pattern: str, message: str) -> list[str]:
    found = [max_length(limit)] if len(value) > limit else []
    return found if re.fullmatch(pattern, value) else [*found, message]


def _remembered(check: Check) -> Check:
    """Return a check that remembers its answers about short text: most names come again."""

    @lru_cache(maxsize=4096)
    def known(value: str) -> tuple[str, ...]:
        return tuple(check(value))

    @wraps(check)
    def remembered(value: str) -> list[str]:
        return [*known(value)] if len(value) <= _REMEMBERED_MAX else check(value)

    return remembered


_LABEL_WRONG = _pattern_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-',"
    " and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)


@_remembered
def dns_label(value: str) -> list[str]:
    """Check an RFC 1123 label: the name of a namespace, container or port."""
    message = "must not contain dots" if re.fullmatch(_SUBDOMAIN, value) else _LABEL_WRONG
    return _checked(value, 63, _LABEL, message)


_SUBDOMAIN_WRONG = _pattern_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-'"
    " or '.', and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)


@_remembered
def dns_subdomain(value: str) -> list[str]:
    """Check an RFC 1123 subdomain: the name of most objects."""
    return _checked(value, 253, _SUBDOMAIN, _SUBDOMAIN_WRONG)


_WILDCARD = r"\*\." + _SUBDOMAIN
_WILDCARD_WRONG = _pattern_message(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which"
    " must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric"
    " character",
    _WILDCARD,
    "*.example.com",
)


def wildcard_subdomain(value: str) -> list[str]:
    """Check a name that stands for all names of a domain, such as ``*.example.com``."""
    return _checked(value, 253, _WILDCARD, _WILDCARD_WRONG)


_LABEL_1035_WRONG = _pattern_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with"
    " an alphabetic character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)


def dns_1035_label(value: str) -> list[str]:
    """Check an RFC 1035 label: the name of a Service."""
    return _checked(value, 63, _LABEL_1035, _LABEL_1035_WRONG)


def name_prefix(value: str) -> list[str]:
    """Check the begin of a subdomain, which may end in a dash."""
    return dns_subdomain(value[:-2] + "a" if len(value) > 1 and value[-1] == "-" else value)


def path_segment(value: str) -> list[str]:
    """Check a segment of a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{sign}'" for sign in ("/", "%") if sign in value]


@_remembered
def qualified_name(value: str) -> list[str]:
    """Check ``prefix/name``: a label key, annotation key or finalizer."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        message = _pattern_message(
            "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and"
            " must start and end with an alphanumeric character",
            _QUALIFIED,
            "MyName",
            "my.name",
            "123-abc",
        )
        return [
            message + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    found = _prefix(prefix) if slash else []
    return found + [f"name part {message}" for message in _name_part(name)]


def _prefix(prefix: str) -> list[str]:
    if not prefix:
        return ["prefix part must be non-empty"]
    return [f"prefix part {_in_bytes(message)}" for message in dns_subdomain(prefix)]


_NAME_WRONG = _pattern_message(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with"
    " an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)


def _name_part(name: str) -> list[str]:
    found = map(_in_bytes, _checked(name, 63, _QUALIFIED, _NAME_WRONG))
    return [*([] if name else ["must be non-empty"]), *found]


_VALUE_WRONG = _pattern_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or"
    " '.', and must start and end with an alphanumeric character",
    _VALUE,
    "MyValue",
    "my_value",
    "12345",
)


@_remembered
def label_value(value: str) -> list[str]:
    """Check the value of a label."""
    return [*map(_in_bytes, _checked(value, 63, _VALUE, _VALUE_WRONG))]


def port_number(value: int) -> list[str]:
    """Check a TCP or UDP port number."""
    return in_range(value, 1, 65535)


def in_range(value: int, low: int, high: int) -> list[str]:
    """Check that a number is between two others, inclusive."""
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port_name(value: str) -> list[str]:
    """Check an IANA service name (RFC 6335): at most 15 characters, at least one letter."""
    found = [max_length(15)] if len(value) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        found.append("must not begin or end with a hyphen")
    return found


def env_name(value: str) -> list[str]:
    """Check the name of an environment variable: printable ASCII without ``=`` (KEP-4369)."""
    if not value:
        return ["environment variable name must be non-empty"]
    if re.fullmatch("[ -<>-~]+", value):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other"
        " than '='"
    ]


_HEADER = "[-A-Za-z0-9]+"
_HEADER_WRONG = _pattern_message(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name"
)


def header_name(value: str) -> list[str]:
    """Check the name of a header in a probe's request."""
    return [] if re.fullmatch(_HEADER, value) else [_HEADER_WRONG]


_KEY_WRONG = _pattern_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)


def config_key(value: str) -> list[str]:
    """Check a key of a ConfigMap or Secret, which becomes a file name."""
    found = _checked(value, 253, _KEY, _KEY_WRONG)
    if value in (".", ".."):
        found.append(f"must not be '{value}'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def search_domain(value: str) -> list[str]:
    """Check a search domain of a resolver: underscores and a final dot are allowed (KEP-4427)."""
    if value == ".":
        return []
    return dns_subdomain(value.removesuffix(".").replace("_", "-"))


def one_line(value: str) -> list[str]:
    """Check text that becomes part of a line of a file, such as resolv.conf."""
    return [] if value.isprintable() else ["must not contain control characters"]


def no_nul(value: str) -> list[str]:
    """Check text that is given to a program: C text ends at the first NUL."""
    return ["must not contain the character NUL"] if "\0" in value else []


_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def ip(value: str) -> list[str]:
    """Check an address without zone and leading zeros, which is not IPv4 within IPv6."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return [_NO_ADDRESS]
    if address.version == 6 and address.ipv4_mapped:
        return ["must not be an IPv4-mapped IPv6 address"]
    return [_NO_ADDRESS] if "%" in value else []


@_remembered
def canonical_ip(value: str) -> list[str]:
    """Check an address in its one canonical form."""
    if messages := ip(value):
        return messages
    address = ipaddress.ip_address(value)
    return [] if str(address) == value else [f'must be in canonical form ("{address}")']


@_remembered
def usable_ip(value: str) -> list[str]:
    """Check an address of an endpoint: not unspecified, loopback, link-local or multicast."""
    if messages := ip(value):
        return messages
    address = ipaddress.ip_address(value)
    kinds = {
        "may not be unspecified (0.0.0.0 or ::)": address.is_unspecified,
        "may not be in the loopback range (127.0.0.0/8, ::1/128)": address.is_loopback,
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)": address.is_link_local,
        "may not be in the multicast range (224.0.0.0/4, ff00::/8)": address.is_multicast,
    }
    return [message for message, holds in kinds.items() if holds]


def cidr(value: str) -> list[str]:
    """Check an address range without host bits."""
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    return (
        [] if "/" in value else ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    )


def canonical_cidr(value: str) -> list[str]:
    """Check an address range in its one canonical form."""
    if messages := cidr(value):
        return messages
    network = ipaddress.ip_network(value)
    return [] if str(network) == value else [f'must be in canonical form ("{network}")']
