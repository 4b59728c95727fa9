"""The 80-bit floating point numbers of x86, which INCRBYFLOAT and HINCRBYFLOAT count in.

A number is (mantissa, exponent), worth mantissa * 2**exponent, the mantissa having at most 64 bits; infinity
has the exponent INFINITE. Everything is done in exact integers and rounded once, half to even, so the results
are those of the hardware bit for bit. Texts go through decimal, because int() and str() refuse long digits.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

LongDouble = tuple[int, int]

INFINITE = 1 << 20
_BITS = 64
_LOWEST = -16445  # exponent of the smallest subnormal
_HIGHEST = 16384  # mantissa.bit_length() + exponent of the greatest number
_MAX_CHARS = 5 * 1024
_PLACES = 17  # decimals that Redis prints
_SHORT = 600  # digits that int() and str() take wherever; more go through Decimal
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_HEX = re.compile(rb"([+-]?)0[xX](?=\.?[0-9a-fA-F])([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]+))?\Z")
_INFINITY = re.compile(rb"([+-]?)inf(?:inity)?\Z", re.IGNORECASE)


def parse(raw: bytes) -> LongDouble:
    """Reads what strtold reads, without blanks and nan. Raises ValueError, also when it is too large or too
    small."""
    if len(raw) >= _MAX_CHARS:
        raise ValueError("too long")
    if _DECIMAL.match(raw):
        return _decimal(raw)
    if match := _INFINITY.match(raw):
        return (-1 if match[1] == b"-" else 1), INFINITE
    if match := _HEX.match(raw):
        sign, whole, part, exponent = match.groups(b"")
        mantissa = int(whole + part, 16)
        scale = int(exponent or b"0") - 4 * len(part)
        return _finite(-mantissa if sign == b"-" else mantissa, 1, max(min(scale, 1 << 17), -(1 << 17)))
    raise ValueError("not a number")


def add(a: LongDouble, b: LongDouble) -> LongDouble:
    """Raises OverflowError when the sum is no finite number."""
    if a[1] == INFINITE or b[1] == INFINITE:
        raise OverflowError
    exponent = min(a[1], b[1])
    total = _round((a[0] << (a[1] - exponent)) + (b[0] << (b[1] - exponent)), 1, exponent)
    if total[1] == INFINITE:
        raise OverflowError
    return total


def text(number: LongDouble) -> bytes:
    """A finite number with up to 17 decimals, without trailing zeros, as Redis prints it."""
    mantissa, exponent = number
    size = abs(mantissa)
    if exponent >= 0:
        digits, decimals = _digits(size << exponent), ""
    else:
        scaled, rest = divmod(size * 10**_PLACES, 1 << -exponent)
        half = 1 << (-exponent - 1)
        if rest > half or (rest == half and scaled & 1):
            scaled += 1
        padded = _digits(scaled).rjust(_PLACES + 1, "0")
        digits, decimals = padded[:-_PLACES], padded[-_PLACES:].rstrip("0")
    shown = f"{digits}.{decimals}" if decimals else digits
    return (f"-{shown}" if mantissa < 0 and shown != "0" else shown).encode()


def _digits(number: int) -> str:
    return str(number) if number.bit_length() < _SHORT else str(Decimal(number))


def _decimal(raw: bytes) -> LongDouble:
    if len(raw) < _SHORT and b"e" not in raw and b"E" not in raw:
        whole, _, part = raw.partition(b".")
        return _finite(int(whole + part), 10 ** len(part), 0)
    try:
        value = Decimal(raw.decode())
    except InvalidOperation:  # an exponent of twenty digits
        raise ValueError("out of range")
    if not value:
        return 0, 0
    if not -5000 < value.adjusted() < 5000:
        raise ValueError("out of range")
    numerator, denominator = value.as_integer_ratio()
    return _finite(numerator, denominator, 0)


def _finite(numerator: int, denominator: int, exponent: int) -> LongDouble:
    rounded = _round(numerator, denominator, exponent)
    if rounded[1] == INFINITE or (numerator and not rounded[0]):
        raise ValueError("out of range")
    return rounded


def _round(numerator: int, denominator: int, exponent: int) -> LongDouble:
    """The nearest number to numerator / denominator * 2**exponent."""
    size = abs(numerator)
    if not size:
        return 0, 0
    shift = max(size.bit_length() - denominator.bit_length() - _BITS, _LOWEST - exponent)
    if shift > 0:
        quotient, rest = divmod(size, denominator << shift)
        divisor = denominator << shift
    else:
        quotient, rest = divmod(size << -shift, denominator)
        divisor = denominator
    if quotient.bit_length() > _BITS:  # the estimate was one bit short
        rest += (quotient & 1) * divisor
        quotient, divisor, shift = quotient >> 1, divisor << 1, shift + 1
    if 2 * rest > divisor or (2 * rest == divisor and quotient & 1):
        quotient += 1
    exponent += shift
    if quotient.bit_length() + exponent > _HIGHEST:
        exponent = INFINITE
    return (-quotient if numerator < 0 else quotient), exponent
