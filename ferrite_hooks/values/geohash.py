"""Positions on the earth as 52-bit geohashes, the scores of a geo set, and the score ranges a search needs.

A cell of step s is one of 2^s by 2^s rectangles of the Mercator map; its hash interleaves the s bits of its
column (longitude, the odd places) with those of its row. A hash of 26 steps is a score, and the points of a
coarser cell are one range of scores. A search takes the cell around its centre and those of the eight
neighbours that the bounding box reaches; the caller measures every point in them. Formulas, constants, the
order of the cells and the quirks at the poles and the date line are Redis's: the order of an unsorted reply
depends on them, and which points COUNT ANY meets first.

Longitudes and latitudes are in degrees, distances in metres.
"""

from __future__ import annotations

from math import asin, cos, isinf, nan, pi, sin, sqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # an integer of C, for the compiled build

LONGITUDE_MAX: Final = 180.0
LATITUDE_MAX: Final = 85.05112878  # where the Mercator map is cut off
EARTH_RADIUS: Final = 6372797.560856
STEP_MAX: Final = 26

_HALF_EQUATOR: Final = 20037726.37
_RADIAN: Final = pi / 180.0
_BASE32: Final = b"0123456789bcdefghjkmnpqrstuvwxyz"
_EVEN: Final = 0x5555555555555555  # every second bit, the lowest among them
# The centre, N, S, E, W, NE, NW, SE, SW, as (columns, rows) away.
_AROUND = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))

Cell = tuple[int, int, int]  # column, row, step


class Circle:
    __slots__ = ("latitude", "longitude", "radius")

    def __init__(self, longitude: float, latitude: float, radius: float) -> None:
        self.longitude = longitude
        self.latitude = latitude
        self.radius = radius


class Box:
    """Aligned with the meridians; the width counts along each point's own parallel."""

    __slots__ = ("height", "latitude", "longitude", "width")

    def __init__(self, longitude: float, latitude: float, width: float, height: float) -> None:
        self.longitude = longitude
        self.latitude = latitude
        self.width = width
        self.height = height


Shape = Circle | Box


def encode(longitude: float, latitude: float) -> int:
    """The 52-bit hash of a position within ±LONGITUDE_MAX, ±LATITUDE_MAX (the very maxima overflow it)."""
    column, row, _ = _cell_at(longitude, latitude, STEP_MAX)
    return _interleave(column, row)


def decode(bits: int) -> tuple[float, float]:
    """The (longitude, latitude) of the middle of the cell that a hash names. Any 64 bits give a position."""
    west, south, east, north = _bounds((_gathered(bits >> 1 & _EVEN), _gathered(bits & _EVEN), STEP_MAX))
    longitude, latitude = (west + east) / 2, (south + north) / 2
    if longitude <= LONGITUDE_MAX and latitude <= LATITUDE_MAX:
        return longitude, latitude
    return min(longitude, LONGITUDE_MAX), min(latitude, LATITUDE_MAX)


def base32(bits: int) -> bytes:
    """The standard geohash string of a hash: its latitudes go to ±90. Of the customary eleven characters the
    52 bits fill ten; the last is always 0."""
    column, row, _ = _cell_at(*decode(bits), STEP_MAX, 90.0)
    standard = _interleave(column, row)
    return bytes([_BASE32[standard >> shift & 31] for shift in range(47, 1, -5)]) + b"0"


def distance(longitude1: float, latitude1: float, longitude2: float, latitude2: float) -> float:
    """Along the great circle (haversine)."""
    v = sin((longitude2 * _RADIAN - longitude1 * _RADIAN) / 2)
    if v == 0.0:
        return _north_south(latitude1, latitude2)
    radians1, radians2 = latitude1 * _RADIAN, latitude2 * _RADIAN
    u = sin((radians2 - radians1) / 2)
    chord = u * u + cos(radians1) * cos(radians2) * v * v
    return 2.0 * EARTH_RADIUS * asin(sqrt(chord) if chord < 1.0 else 1.0)


def distance_within(shape: Shape, longitude: float, latitude: float) -> float | None:
    """How far the position is from the shape's centre, None when it lies outside the shape."""
    if isinstance(shape, Box):
        if _north_south(latitude, shape.latitude) > shape.height / 2:
            return None
        if distance(longitude, latitude, shape.longitude, latitude) > shape.width / 2:
            return None
        return distance(shape.longitude, shape.latitude, longitude, latitude)
    metres = distance(shape.longitude, shape.latitude, longitude, latitude)
    return None if metres > shape.radius else metres


def search_spans(shape: Shape) -> list[tuple[int, int]]:
    """The score ranges (low, high), high excluded, that hold the shape's points, in the order of search."""
    spans = []
    previous = None
    for number, cell in enumerate(_search_cells(shape)):
        if cell == previous:  # around the whole earth, neighbours coincide
            continue
        column, row, step = cell
        bits = _interleave(column, row)
        unused = 2 * (STEP_MAX - step)
        spans.append((bits << unused, bits + 1 << unused))
        if number:  # Redis never takes a neighbour for a repetition of the centre
            previous = cell
    return spans


def _search_cells(shape: Shape) -> list[Cell]:
    longitude, latitude = shape.longitude, shape.latitude
    low_long, low_lat, high_long, high_lat = _bounding_box(shape)
    step = _step_for(shape)
    centre = _cell_at(longitude, latitude, step)
    if step > 1 and (
        _bounds(_move(centre, 0, 1))[3] < high_lat
        or _bounds(_move(centre, 0, -1))[1] > low_lat
        or _bounds(_move(centre, 1, 0))[2] < high_long
        or _bounds(_move(centre, -1, 0))[0] > low_long
    ):  # the centre is so near an edge of its cell that the neighbours do not cover the box
        step -= 1
        centre = _cell_at(longitude, latitude, step)
    skip_columns, skip_rows = set(), set()
    if step >= 2:
        west, south, east, north = _bounds(centre)
        skip_rows = {dy for dy, skip in ((-1, south < low_lat), (1, north > high_lat)) if skip}
        skip_columns = {dx for dx, skip in ((-1, west < low_long), (1, east > high_long)) if skip}
    return [_move(centre, dx, dy) for dx, dy in _AROUND if dx not in skip_columns and dy not in skip_rows]


def _bounding_box(shape: Shape) -> tuple[float, float, float, float]:
    """West, south, east, north. The side nearer to the pole decides the width."""
    if isinstance(shape, Box):
        width, height = shape.width / 2, shape.height / 2
    else:
        width = height = shape.radius
    if isinf(height):
        return nan, -height, nan, height
    rise = height / EARTH_RADIUS / _RADIAN
    parallel = shape.latitude - rise if shape.latitude < 0 else shape.latitude + rise
    spread = width / EARTH_RADIUS / cos(parallel * _RADIAN) / _RADIAN
    return shape.longitude - spread, shape.latitude - rise, shape.longitude + spread, shape.latitude + rise


def _step_for(shape: Shape) -> int:
    """The finest step at which nine cells around the centre should cover the shape."""
    if isinstance(shape, Box):
        metres = sqrt(shape.width / 2 * (shape.width / 2) + shape.height / 2 * (shape.height / 2))
    else:
        metres = shape.radius
    if metres == 0:
        return STEP_MAX
    step = -1
    while metres < _HALF_EQUATOR:
        metres *= 2
        step += 1
    if abs(shape.latitude) > 66:  # cells are narrower towards the poles
        step -= 2 if abs(shape.latitude) > 80 else 1
    return min(max(step, 1), STEP_MAX)


def _cell_at(longitude: float, latitude: float, step: int, latitude_max: float = LATITUDE_MAX) -> Cell:
    column = (longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX) * (1 << step)
    row = (latitude + latitude_max) / (2 * latitude_max) * (1 << step)
    return int(column), int(row), step


def _bounds(cell: Cell) -> tuple[float, float, float, float]:
    """West, south, east, north."""
    column, row, step = cell
    cells = 1 << step
    return (
        column / cells * (2 * LONGITUDE_MAX) - LONGITUDE_MAX,
        row / cells * (2 * LATITUDE_MAX) - LATITUDE_MAX,
        (column + 1) / cells * (2 * LONGITUDE_MAX) - LONGITUDE_MAX,
        (row + 1) / cells * (2 * LATITUDE_MAX) - LATITUDE_MAX,
    )


def _move(cell: Cell, columns: int, rows: int) -> Cell:
    """The neighbour that many columns and rows away; the map wraps at its edges, even the poles."""
    column, row, step = cell
    last = (1 << step) - 1
    return (column + columns & last if columns else column), (row + rows & last if rows else row), step


def _north_south(latitude1: float, latitude2: float) -> float:
    return EARTH_RADIUS * abs(latitude2 * _RADIAN - latitude1 * _RADIAN)


def _interleave(column: int, row: int) -> int:
    return _spread(column) << 1 | _spread(row)


def _spread(number: i64) -> i64:
    """A zero before each of 32 bits."""
    number = (number | number << 16) & 0x0000FFFF0000FFFF
    number = (number | number << 8) & 0x00FF00FF00FF00FF
    number = (number | number << 4) & 0x0F0F0F0F0F0F0F0F
    number = (number | number << 2) & 0x3333333333333333
    return (number | number << 1) & _EVEN


def _gathered(number: i64) -> i64:
    """The reverse of `_spread`."""
    number = (number | number >> 1) & 0x3333333333333333
    number = (number | number >> 2) & 0x0F0F0F0F0F0F0F0F
    number = (number | number >> 4) & 0x00FF00FF00FF00FF
    number = (number | number >> 8) & 0x0000FFFF0000FFFF
    return (number | number >> 16) & 0xFFFFFFFF
