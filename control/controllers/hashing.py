"""Short hashes for the names of templates. Pure."""

# As upstream: no vowels, so that no words appear, and no letters that look alike.
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def safe_hash(text: bytes, collisions: int = 0) -> str:
    """Return FNV-1a (32 bits) of a text in LETTERS; each counted collision gives another hash."""
    value = 0x811C9DC5
    for byte in text + (str(collisions).encode() if collisions else b""):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return "".join(LETTERS[ord(digit) % len(LETTERS)] for digit in str(value))
