"""Short names for templates. Pure."""

# No vowels, nothing that looks like something else: no words by chance (as upstream).
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def safe_hash(text: bytes, collisions: int = 0) -> str:
    """FNV-1a (32 bits) of a text in those letters; another one for every collision counted."""
    value = 0x811C9DC5
    for byte in text + (str(collisions).encode() if collisions else b""):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return "".join(LETTERS[ord(digit) % len(LETTERS)] for digit in str(value))
