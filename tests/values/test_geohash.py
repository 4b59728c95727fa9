"""Geohashes: known positions, and searches against measuring every point."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ferrite_hooks.values.geohash import (
    LATITUDE_MAX,
    Box,
    Circle,
    Shape,
    base32,
    decode,
    distance,
    distance_within,
    encode,
    search_spans,
)

PALERMO = (13.361389, 38.115556)
CATANIA = (15.087269, 37.502669)

longitudes = st.floats(-180, 180)
latitudes = st.floats(-LATITUDE_MAX, LATITUDE_MAX)


def test_the_documented_example() -> None:
    palermo, catania = encode(*PALERMO), encode(*CATANIA)
    assert (palermo, catania) == (3479099956230698, 3479447370796909)
    assert decode(palermo) == (13.361389338970184, 38.1155563954963)
    assert (base32(palermo), base32(catania)) == (b"sqc8b49rny0", b"sqdtr74hyu0")
    assert f"{distance(*decode(palermo), *decode(catania)):.4f}" == "166274.1516"


@given(longitudes, latitudes)
def test_decoding_lands_in_the_same_cell(longitude: float, latitude: float) -> None:
    assume(longitude < 179.9999999 and latitude < 85.0511287)  # the cells there overflow the 52 bits
    bits = encode(longitude, latitude)
    assert 0 <= bits < 1 << 52
    assert distance(longitude, latitude, *decode(bits)) < 1.0
    assert encode(*decode(bits)) == bits


@pytest.mark.parametrize("bits", [0, 1 << 52, (1 << 53) - 1, (1 << 64) - 1, 1 << 63])
def test_any_bits_decode_to_a_position(bits: int) -> None:
    longitude, latitude = decode(bits)
    assert -180 <= longitude <= 180 and -LATITUDE_MAX <= latitude <= LATITUDE_MAX
    assert len(base32(bits)) == 11


def test_the_corners_of_the_map_encode() -> None:
    assert encode(-180, -LATITUDE_MAX) == 0
    assert encode(180, LATITUDE_MAX) == 0b11 << 52


def test_distances_of_equal_and_opposite_points() -> None:
    assert distance(10, 20, 10, 20) == 0
    assert distance(0, 0, 180, 0) == pytest.approx(20020741, rel=1e-6)
    assert distance(0, 85, 180, -85) == pytest.approx(20020741, rel=1e-6)


def found(shape: Shape, points: list[int]) -> list[int]:
    return [
        bits
        for low, high in search_spans(shape)
        for bits in points
        if low <= bits < high and distance_within(shape, *decode(bits)) is not None
    ]


shapes = st.one_of(
    st.builds(Circle, longitudes, st.floats(-60, 60), st.floats(0, 900_000)),
    st.builds(Box, longitudes, st.floats(-60, 60), st.floats(0, 900_000), st.floats(0, 900_000)),
)


@settings(max_examples=150, deadline=None)
@given(shapes, st.integers(0, 1 << 32))
def test_a_search_finds_every_point_once(shape: Shape, seed: int) -> None:
    assume(-160 < shape.longitude < 160)  # Redis does not look across the date line
    rng = random.Random(seed)
    near = [
        (shape.longitude + rng.uniform(-15, 15), shape.latitude + rng.uniform(-10, 10)) for _ in range(50)
    ]
    points = sorted({encode(*position) for position in near})
    expected = [bits for bits in points if distance_within(shape, *decode(bits)) is not None]
    assert sorted(found(shape, points)) == expected


def test_a_small_circle_in_the_middle_of_its_cell_needs_few_ranges() -> None:
    spans = search_spans(Circle(*PALERMO, 100))
    assert 1 <= len(spans) <= 9
    low, high = spans[0]
    assert low <= encode(*PALERMO) < high
    assert sum(high - low for low, high in spans) < 1 << 26


@pytest.mark.parametrize("radius", [0.0, 1e9, 1e300, float("inf")])
@pytest.mark.parametrize("latitude", [0.0, -85.0, 85.05])
def test_extreme_sizes_have_an_answer(radius: float, latitude: float) -> None:
    centre = encode(10, latitude)
    here = decode(centre)
    for shape in (Circle(*here, radius), Box(*here, radius, radius)):
        assert centre in found(shape, [centre])


def test_the_whole_earth_is_four_quarters_around_the_centre() -> None:
    spans = search_spans(Circle(1, 1, 3e7))
    assert {low >> 50 for low, _ in spans} == {0, 1, 2, 3}
