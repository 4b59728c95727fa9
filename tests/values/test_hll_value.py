"""The HyperLogLog string: byte for byte what a redis-server makes of the same elements."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrite_hooks.values import hll

PLAIN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17)
# (register, rank) of the first so many bytes of abcdefghijklmnopq, by PFDEBUG GETREG of redis-server 7.0.15
LOCATIONS = [
    (5938, 2), (12711, 2), (719, 1), (9474, 1), (11070, 8),
    (3726, 4), (13647, 2), (5634, 2), (1383, 1), (6903, 1), (9328, 1), (4271, 1),
]


def some_elements(seed: int, n: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(20)) for _ in range(n)]


@pytest.mark.oracle
@PLAIN
@given(
    st.sampled_from([20, 30, 100, 500, 3000]),
    st.lists(st.one_of(st.integers(0, 4), st.integers(0, 250)), min_size=1, max_size=20),
    st.integers(0, 1 << 32),
)
def test_the_bytes_and_estimates_are_those_of_redis(real_redis, max_bytes, sizes, seed):
    real_redis.flushall()
    real_redis.config_set("hll-sparse-max-bytes", max_bytes)
    real_redis.pfadd("h")
    value = hll.EMPTY
    assert real_redis.get("h") == value
    for i, size in enumerate(sizes):
        elements = some_elements(seed + i, size)
        after = hll.add(value, elements, max_bytes)
        assert (after is not None) == bool(real_redis.execute_command("PFADD", "h", *elements))
        value = after or value
        assert real_redis.get("h") == value
        if i % 3 == 0:
            cardinality = hll.cached_count(value)
            cardinality = hll.count(value) if cardinality is None else cardinality
            assert real_redis.pfcount("h") == cardinality
            value = hll.with_cached_count(value, cardinality)
            assert real_redis.get("h") == value


@pytest.mark.oracle
@PLAIN
@given(
    st.sampled_from([30, 500, 3000]),
    st.lists(st.one_of(st.none(), st.integers(0, 600)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 1 << 32),
)
def test_merges_are_those_of_redis(real_redis, max_bytes, sizes, into_new, seed):
    real_redis.flushall()
    values = []
    for i, size in enumerate(sizes):  # None: a dense source
        real_redis.config_set("hll-sparse-max-bytes", 3000)
        elements = some_elements(seed + i, 5 if size is None else size)
        real_redis.execute_command("PFADD", f"h{i}", *elements)
        value = hll.add(hll.EMPTY, elements) or hll.EMPTY
        if size is None:
            real_redis.execute_command("PFDEBUG", "TODENSE", f"h{i}")
            value = hll.to_dense(value)
            assert real_redis.get(f"h{i}") == value
        values.append(value)
    keys = [f"h{i}" for i in range(len(sizes))]
    assert real_redis.execute_command("PFCOUNT", *keys, "none") == hll.count_union(values)
    real_redis.config_set("hll-sparse-max-bytes", max_bytes)
    target = "new" if into_new else keys.pop(0)
    if into_new:
        values.insert(0, hll.EMPTY)
    real_redis.execute_command("PFMERGE", target, *keys)
    assert real_redis.get(target) == hll.merge(values[0], values[1:], max_bytes)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.sampled_from([100, 500, 3000]), st.integers(0, 1 << 32))
def test_elements_added_one_by_one_or_at_once_give_the_same_bytes(size, max_bytes, seed):
    elements = some_elements(seed, size)
    value = hll.EMPTY
    for element in elements:
        value = hll.add(value, [element], max_bytes) or value
    assert hll.add(hll.EMPTY, elements, max_bytes) == value


@pytest.mark.parametrize("seed", range(5))
def test_work_on_all_registers_at_once_agrees_with_one_by_one(seed):
    rng = random.Random(seed)
    a, b = (bytes(byte & 63 for byte in rng.randbytes(hll.REGISTERS)) for _ in range(2))
    packed = bytes(hll.HEADER) + hll._pack(a)
    assert len(packed) == hll.DENSE_SIZE
    assert hll._unpack(packed) == a
    bits = int.from_bytes(packed[hll.HEADER :], "little")
    assert all(bits >> 6 * i & 63 == a[i] for i in range(0, hll.REGISTERS, 97))
    assert hll._max(a, b) == bytes(map(max, a, b))


def test_murmur_hash_of_every_tail_length():
    text = b"abcdefghijklmnopq"
    assert [hll._locate(text[:n]) for n in SIZES] == LOCATIONS


@pytest.mark.oracle
def test_locations_are_those_of_redis(real_redis):
    for size, (index, rank) in zip(SIZES, LOCATIONS, strict=True):
        real_redis.delete("h")
        real_redis.pfadd("h", b"abcdefghijklmnopq"[:size])
        found = real_redis.execute_command("PFDEBUG", "GETREG", "h")
        assert [(i, found[i]) for i in range(hll.REGISTERS) if found[i]] == [(index, rank)]


def test_opcodes_spell_the_sparse_encoding():
    assert hll.opcodes(hll.EMPTY) == [("Z", 0, 16384)]
    value = hll.add(hll.EMPTY, [b"a", b"b", b"c"])
    assert value is not None
    assert [kind for kind, _, _ in hll.opcodes(value)] == ["Z", "v", "Z", "v", "Z", "v", "Z"]
    assert sum(span for _, _, span in hll.opcodes(value)) == hll.REGISTERS


def test_what_is_a_hyperloglog():
    dense = hll.to_dense(hll.EMPTY)
    assert hll.is_hll(hll.EMPTY) and hll.is_hll(dense)
    assert hll.is_sparse(hll.EMPTY) and not hll.is_sparse(dense)
    for forged in (b"", b"HYLL", b"HALL" + hll.EMPTY[4:], b"HYLL\x02" + hll.EMPTY[5:], dense + b"x"):
        assert not hll.is_hll(forged)


@pytest.mark.parametrize("damage", [hll.EMPTY + b"hello", hll.EMPTY[:-2], hll.EMPTY[:-2] + b"\x00" * 3])
def test_damaged_registers_are_refused(damage):
    for use in (hll.count, hll.to_dense, lambda v: hll.merge(v, []), lambda v: hll.count_union([v])):
        with pytest.raises(hll.CorruptError):
            use(damage)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=5), st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_no_damage_does_more_than_raise(changes, size):
    value = bytearray(hll.add(hll.EMPTY, some_elements(size, size)) or hll.EMPTY)
    for at, byte in changes:
        value[hll.HEADER + at % (len(value) - hll.HEADER)] = byte
    more = some_elements(1, 30)
    for use in (hll.count, hll.opcodes, lambda v: hll.add(v, more), lambda v: hll.merge(v, [v])):
        try:
            use(bytes(value))
        except hll.CorruptError:
            pass


def test_forged_registers_still_give_a_number():
    forged = hll.to_dense(hll.EMPTY)[: hll.HEADER] + b"\xff" * (hll.DENSE_SIZE - hll.HEADER)
    assert hll.count(forged) == -(1 << 63)


def test_self_test_passes():
    assert hll.self_test(10_000) is None
