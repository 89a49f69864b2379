"""BLAKE2b without hashlib, which would load OpenSSL first: 2 ms."""

from _blake2 import blake2b

__all__ = ["blake2b"]
