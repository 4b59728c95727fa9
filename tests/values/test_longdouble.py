"""Long doubles against INCRBYFLOAT of redis-server, whose C compiler has the real ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle

from ferrite_hooks.values import longdouble

DIGITS = st.text("0123456789", min_size=1, max_size=25)
SIGNS = st.sampled_from(["", "-", "+"])
EXPONENTS = st.one_of(st.integers(-30, 30), st.integers(-5000, 5000))
HEX = st.text("0123456789abcdefABCDEF", min_size=1, max_size=20)
NUMBERS = st.one_of(
    st.builds("{}{}".format, SIGNS, DIGITS),
    st.builds("{}{}.{}".format, SIGNS, DIGITS, DIGITS),
    st.builds("{}{}.{}e{}".format, SIGNS, DIGITS, DIGITS, EXPONENTS),
    st.builds("{}0x{}.{}p{}".format, SIGNS, HEX, HEX, EXPONENTS),
    st.sampled_from([
        "1.", ".5", ".", "1e", "0x", "0xg", "inf", "-Infinity", "nan", "", " 1", "1 ", "1e4932", "1.2e4932", "1e-4950",
        "1.8e-4951", "3.6e-4951", "1e99999999", "0e99999", "0x1p16383", "0x1p16384", "0x0p99999999999",
        "0x1.fffffffffffffffep16383", "1e99999999999999999999999", "9" * 4000,
    ]),
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(augend=NUMBERS, addend=NUMBERS)
def test_sums_are_the_hardware_s(oracle: Oracle, augend: str, addend: str) -> None:
    oracle("SET", "k", augend)
    expected = oracle("INCRBYFLOAT", "k", addend)
    try:
        total = longdouble.text(longdouble.add(longdouble.parse(augend.encode()), longdouble.parse(addend.encode())))
        actual = b"$%d\r\n%b\r\n" % (len(total), total)
    except ValueError:
        actual = b"-ERR value is not a valid float\r\n"
    except OverflowError:
        actual = b"-ERR increment would produce NaN or Infinity\r\n"
    assert actual == expected


@pytest.mark.parametrize("text", ["1" * 5120, "0x", "1e5x", "--1", "1_0"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError):
        longdouble.parse(text.encode())
