"""Zigzag varints, as Avro's int and long, Kafka's record format and Protocol Buffers have them."""

from functools import lru_cache


def _encode(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


SMALL = [_encode(number) for number in range(8_192)]
"""The encodings of the numbers that are met most."""
# the same instants and durations come again and again
_remembered = lru_cache(maxsize=8_192)(_encode)


def encode(number: int) -> bytes:
    """A number of at most 64 bits, with its sign."""
    return SMALL[number] if 0 <= number < 8_192 else _remembered(number)


def read(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The number that starts at ``at``, and where it ends. Raises IndexError where none of 64 bits stands."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = data[at]
        if shift > 63:  # of bytes that were not written by us; it would take time by the square of their number
            raise IndexError("a number of more than 64 bits")
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1), at + 1


def start_before(data: bytes | bytearray, end: int) -> int:
    """Return the start of the number that ends before ``end``: all its bytes but the last have the high bit set."""
    at = end - 1
    while at > 0 and data[at - 1] >= 0x80:
        at -= 1
    return max(at, 0)
