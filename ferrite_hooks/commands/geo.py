"""Geo sets: sorted sets whose scores are 52-bit geohashes.

GEOADD is ZADD with computed scores. GEOSEARCH and the four older GEORADIUS are one search: parse into a Search,
walk the score ranges that the shape needs, measure each point, sort, cut, reply or store.
"""

from __future__ import annotations

from typing import Final

from ferrite_hooks.commands.common import double, integer
from ferrite_hooks.commands.zsets import add, store
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY, Double, Reply
from ferrite_hooks.values.geohash import (
    LATITUDE_MAX,
    LONGITUDE_MAX,
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
from ferrite_hooks.values.zset import ZSet

UNIT = "ERR unsupported unit provided. please use M, KM, FT, MI"
NO_POSITION = "ERR could not decode requested zset member"
RADIUS_NOT_NUMERIC = "ERR need numeric radius"
RADIUS_NEGATIVE = "ERR radius cannot be negative"
WIDTH_NOT_NUMERIC = "ERR need numeric width"
HEIGHT_NOT_NUMERIC = "ERR need numeric height"
BOX_NEGATIVE = "ERR height or width cannot be negative"
COUNT_POSITIVE = "ERR COUNT must be > 0"
ANY_WITHOUT_COUNT = "ERR the ANY argument requires COUNT argument"
STORE_WITH = "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
ONE_CENTRE = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %s"
ONE_SHAPE = "ERR exactly one of BYRADIUS and BYBOX can be specified for %s"

_HIGHEST: Final = float((1 << 52) - 1)  # score that GEOADD makes
_METRES = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}

Position = tuple[float, float]  # longitude, latitude


def _position(raw_longitude: bytes, raw_latitude: bytes) -> Position:
    longitude, latitude = double(raw_longitude), double(raw_latitude)
    if abs(longitude) > LONGITUDE_MAX or abs(latitude) > LATITUDE_MAX:
        raise ReplyError(f"ERR invalid longitude,latitude pair {longitude:f},{latitude:f}")
    return longitude, latitude


def _unit(raw: bytes) -> float:
    metres = _METRES.get(raw.lower())
    if metres is None:
        raise ReplyError(UNIT)
    return metres


def _bits(score: float) -> int:
    """A score as 64 bits; those that GEOADD never makes are converted as Redis's machine code does it."""
    if 0.0 <= score <= _HIGHEST:
        return int(score)
    if -(1 << 63) <= score < 1 << 64:
        return int(score) % (1 << 64)
    return 0 if score > 0 else 1 << 63


def _coordinates(position: Position) -> Reply:
    """Longitude and latitude with up to 17 decimals and no trailing zeros."""
    return [Double((b"%.17f" % degrees).rstrip(b"0").rstrip(b".")) for degrees in position]


# -- members


@command(
    "GEOADD key [<NX | XX>] [CH] longitude latitude member [longitude latitude member ...]",
    "Adds members at positions to a geo set, or moves them.",
    group="geo", since="3.2.0", flags="write denyoom", keys="RW update @1", events="zadd",
    complexity="O(log(N)) for each member",
)  # fmt: skip
def geoadd(s: Session, argv: Argv) -> Reply:
    at = 2
    while at < len(argv) and argv[at].upper() in (b"NX", b"XX", b"CH"):
        at += 1
    options = {option.upper() for option in argv[2:at]}
    if (len(argv) - at) % 3 or {b"NX", b"XX"} <= options:
        raise ReplyError(SYNTAX)
    if at == len(argv):
        raise ReplyError(SYNTAX)
    scores: list[float] = []
    members: list[bytes] = []
    effect = [b"ZADD", *argv[1:at]]
    for triple in range(at, len(argv), 3):
        longitude, latitude = _position(argv[triple], argv[triple + 1])
        score, member = encode(longitude, latitude), argv[triple + 2]
        scores.append(float(score))
        members.append(member)
        effect += (b"%d" % score, member)
    reply = add(s, argv[1], options, scores, members)
    s.engine.effect_of(effect)
    return reply


@command(
    "GEOPOS key [member [member ...]]", "The longitudes and latitudes of members.",
    group="geo", since="3.2.0", flags="readonly", keys="RO access @1", complexity="O(N) for N members",
)  # fmt: skip
def geopos(s: Session, argv: Argv) -> Reply:
    zset = s.db.read(argv[1], ZSet) or ZSet()
    scores = map(zset.scores.get, argv[2:])
    return [NIL_ARRAY if score is None else _coordinates(decode(_bits(score))) for score in scores]


@command(
    "GEOHASH key [member [member ...]]", "The positions of members as standard geohash strings.",
    group="geo", since="3.2.0", flags="readonly", keys="RO access @1", complexity="O(N) for N members",
)  # fmt: skip
def geohash(s: Session, argv: Argv) -> Reply:
    zset = s.db.read(argv[1], ZSet) or ZSet()
    scores = map(zset.scores.get, argv[2:])
    return [None if score is None else base32(_bits(score)) for score in scores]


@command(
    "GEODIST key member1 member2 [<m | km | ft | mi>]", "The distance between two members.",
    group="geo", since="3.2.0", flags="readonly", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def geodist(s: Session, argv: Argv) -> Reply:
    if len(argv) > 5:
        raise ReplyError(SYNTAX)
    unit = _unit(argv[4]) if len(argv) == 5 else 1.0
    zset = s.db.read(argv[1], ZSet) or ZSet()
    first, second = zset.scores.get(argv[2]), zset.scores.get(argv[3])
    if first is None or second is None:
        return None
    return b"%.4f" % (distance(*decode(_bits(first)), *decode(_bits(second))) / unit)


# -- searching


class Search:
    """What is searched for; filled while the arguments are read."""

    __slots__ = ("any", "centre", "count", "descending", "shown", "size", "store_distance", "store_key", "unit")

    def __init__(self, store_key: bytes | None = None) -> None:
        self.centre: Position | None = None
        self.size: tuple[float, ...] = ()  # radius, or width and height, in units
        self.unit = 1.0  # metres
        self.descending: bool | None = None  # None: in the order of search
        self.count = 0  # 0 = all
        self.any = False  # any `count` points instead of the nearest
        self.shown: set[bytes] = set()  # WITHDIST, WITHHASH, WITHCOORD
        self.store_key = store_key
        self.store_distance = False

    def shape(self) -> Shape:
        longitude, latitude = self.centre or (0.0, 0.0)
        metres = [length * self.unit for length in self.size]
        if len(metres) == 1:
            return Circle(longitude, latitude, metres[0])
        return Box(longitude, latitude, metres[0], metres[1])


class Point:
    """A member that was found."""

    __slots__ = ("member", "metres", "position", "score")

    def __init__(self, member: bytes, score: float, position: Position, metres: float) -> None:
        self.member = member
        self.score = score
        self.position = position
        self.metres = metres


def _found(zset: ZSet, shape: Shape, limit: int) -> list[Point]:
    """The points in the order of search, no more than `limit` unless that is 0."""
    points: list[Point] = []
    for low, high in search_spans(shape):
        start, stop = zset.span_by_score(low, high, high_open=True)
        for member in zset.range(start, stop):
            score = zset.scores[member]
            longitude, latitude = decode(_bits(score))
            metres = distance_within(shape, longitude, latitude)
            if metres is not None:
                points.append(Point(member, score, (longitude, latitude), metres))
                if len(points) == limit:
                    return points
    return points


def _run(s: Session, search: Search, zset: ZSet | None, event: str) -> Reply:
    points: list[Point] = []
    if zset is not None:
        points = _found(zset, search.shape(), search.count if search.any else 0)
    if search.descending is not None or (search.count and not search.any):
        points.sort(key=lambda point: point.metres, reverse=bool(search.descending))
    if search.count:
        del points[search.count :]
    if search.store_key is not None:
        by_distance, unit = search.store_distance, search.unit
        scores = {point.member: point.metres / unit if by_distance else point.score for point in points}
        return store(s, search.store_key, ZSet(scores), event)
    if not search.shown:
        return [point.member for point in points]
    return [_shown(search, point) for point in points]


def _shown(search: Search, point: Point) -> list[Reply]:
    reply: list[Reply] = [point.member]
    if b"WITHDIST" in search.shown:
        reply.append(b"%.4f" % (point.metres / search.unit))
    if b"WITHHASH" in search.shown:
        reply.append(int(point.score))
    if b"WITHCOORD" in search.shown:
        reply.append(_coordinates(point.position))
    return reply


def _option(search: Search, argv: Argv, at: int) -> int:
    """Reads an option that all searches have at `argv[at]`. Returns where the next one is, `at` if this is none."""
    option = argv[at].upper()
    if option in (b"WITHDIST", b"WITHHASH", b"WITHCOORD"):
        search.shown.add(option)
    elif option == b"ANY":
        search.any = True
    elif option in (b"ASC", b"DESC"):
        search.descending = option == b"DESC"
    elif option == b"COUNT" and at + 1 < len(argv):
        search.count = integer(argv[at + 1])
        if search.count <= 0:
            raise ReplyError(COUNT_POSITIVE)
        return at + 2
    else:
        return at
    return at + 1


def _radius(search: Search, radius: bytes, unit: bytes) -> None:
    search.size = (double(radius, RADIUS_NOT_NUMERIC),)
    if search.size[0] < 0:
        raise ReplyError(RADIUS_NEGATIVE)
    search.unit = _unit(unit)


def _box(search: Search, width: bytes, height: bytes, unit: bytes) -> None:
    search.size = double(width, WIDTH_NOT_NUMERIC), double(height, HEIGHT_NOT_NUMERIC)
    if min(search.size) < 0:
        raise ReplyError(BOX_NEGATIVE)
    search.unit = _unit(unit)


def _position_of(zset: ZSet, member: bytes) -> Position:
    score = zset.scores.get(member)
    if score is None:
        raise ReplyError(NO_POSITION)
    return decode(_bits(score))


def _geosearch(s: Session, argv: Argv, at: int, storing: bool) -> Reply:
    """GEOSEARCH and GEOSEARCHSTORE: options in any order from `argv[at]`, behind the source key."""
    zset = s.db.read(argv[at - 1], ZSet)
    search = Search(store_key=argv[1] if storing else None)
    from_member = from_position = False
    while at < len(argv):
        after = _option(search, argv, at)
        if after == at:
            option, left = argv[at].upper(), len(argv) - at - 1
            if option == b"FROMMEMBER" and left >= 1 and not from_position:
                from_member = True
                if zset is not None:
                    search.centre = _position_of(zset, argv[at + 1])
                after = at + 2
            elif option == b"FROMLONLAT" and left >= 2 and not from_member:
                from_position = True
                search.centre = _position(argv[at + 1], argv[at + 2])
                after = at + 3
            elif option == b"BYRADIUS" and left >= 2 and len(search.size) < 2:
                _radius(search, argv[at + 1], argv[at + 2])
                after = at + 3
            elif option == b"BYBOX" and left >= 3 and len(search.size) != 1:
                _box(search, argv[at + 1], argv[at + 2], argv[at + 3])
                after = at + 4
            elif option == b"STOREDIST" and storing:
                search.store_distance = True
                after = at + 1
            else:
                raise ReplyError(SYNTAX)
        at = after
    name = argv[0].decode("utf-8", "surrogateescape")
    if storing and search.shown:
        raise ReplyError(STORE_WITH % "GEOSEARCHSTORE")
    if not (from_member or from_position):
        raise ReplyError(ONE_CENTRE % name)
    if not search.size:
        raise ReplyError(ONE_SHAPE % name)
    if search.any and not search.count:
        raise ReplyError(ANY_WITHOUT_COUNT)
    return _run(s, search, zset, "geosearchstore")


@command(
    "GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude>"
    " <BYRADIUS radius <m | km | ft | mi> | BYBOX width height <m | km | ft | mi>>"
    " [<ASC | DESC>] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    "The members within a circle or a box.",
    group="geo", since="6.2.0", flags="readonly", keys="RO access @1",
    complexity="O(N+log(M)) for N members around the shape and M in it",
)  # fmt: skip
def geosearch(s: Session, argv: Argv) -> Reply:
    return _geosearch(s, argv, 2, storing=False)


@command(
    "GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude>"
    " <BYRADIUS radius <m | km | ft | mi> | BYBOX width height <m | km | ft | mi>>"
    " [<ASC | DESC>] [COUNT count [ANY]] [STOREDIST]",
    "Stores the members within a circle or a box.",
    group="geo", since="6.2.0", flags="write denyoom", keys="OW update @1; RO access @2",
    events="geosearchstore del", complexity="O(N+log(M)) for N members around the shape and M in it",
)  # fmt: skip
def geosearchstore(s: Session, argv: Argv) -> Reply:
    return _geosearch(s, argv, 3, storing=True)


def _georadius(s: Session, argv: Argv, by_member: bool, may_store: bool) -> Reply:
    """The GEORADIUS family: centre and radius first, then options."""
    zset = s.db.read(argv[1], ZSet)
    search = Search()
    stored: set[bytes] = set()
    at = 5 if by_member else 6
    if not by_member:
        search.centre = _position(argv[2], argv[3])
    elif zset is not None:
        search.centre = _position_of(zset, argv[2])
    if zset is not None or not by_member:
        _radius(search, argv[at - 2], argv[at - 1])
    while at < len(argv):
        after = _option(search, argv, at)
        if after == at:
            option = argv[at].upper()
            if not may_store or option not in (b"STORE", b"STOREDIST") or at + 1 == len(argv):
                raise ReplyError(SYNTAX)
            if option in stored:  # Redis takes the last, but its key specifications, and so the ACL, see the first
                raise ReplyError(SYNTAX)
            stored.add(option)
            search.store_key, search.store_distance = argv[at + 1], option == b"STOREDIST"
            after = at + 2
        at = after
    if search.store_key is not None and search.shown:
        raise ReplyError(STORE_WITH % "STORE option in GEORADIUS")
    if search.any and not search.count:
        raise ReplyError(ANY_WITHOUT_COUNT)
    return _run(s, search, zset, "georadiusstore")


@command(
    "GEORADIUS key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH]"
    " [COUNT count [ANY]] [<ASC | DESC>] [<STORE storekey | STOREDIST storedistkey>]",
    "The members within a circle, returned or stored.",
    group="geo", since="3.2.0", flags="write denyoom movablekeys",
    keys="RO access @1; OW update =STORE/6; OW update =STOREDIST/6", events="georadiusstore del",
    complexity="O(N+log(M)) for N members around the circle and M in it",
)  # fmt: skip
def georadius(s: Session, argv: Argv) -> Reply:
    return _georadius(s, argv, by_member=False, may_store=True)


@command(
    "GEORADIUS_RO key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH]"
    " [COUNT count [ANY]] [<ASC | DESC>]",
    "The members within a circle.",
    group="geo", since="3.2.10", flags="readonly", keys="RO access @1",
    complexity="O(N+log(M)) for N members around the circle and M in it",
)  # fmt: skip
def georadius_ro(s: Session, argv: Argv) -> Reply:
    return _georadius(s, argv, by_member=False, may_store=False)


@command(
    "GEORADIUSBYMEMBER key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH]"
    " [COUNT count [ANY]] [<ASC | DESC>] [<STORE storekey | STOREDIST storedistkey>]",
    "The members within a circle around a member, returned or stored.",
    group="geo", since="3.2.0", flags="write denyoom movablekeys",
    keys="RO access @1; OW update =STORE/5; OW update =STOREDIST/5", events="georadiusstore del",
    complexity="O(N+log(M)) for N members around the circle and M in it",
)  # fmt: skip
def georadiusbymember(s: Session, argv: Argv) -> Reply:
    return _georadius(s, argv, by_member=True, may_store=True)


@command(
    "GEORADIUSBYMEMBER_RO key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH]"
    " [COUNT count [ANY]] [<ASC | DESC>]",
    "The members within a circle around a member.",
    group="geo", since="3.2.10", flags="readonly", keys="RO access @1",
    complexity="O(N+log(M)) for N members around the circle and M in it",
)  # fmt: skip
def georadiusbymember_ro(s: Session, argv: Argv) -> Reply:
    return _georadius(s, argv, by_member=True, may_store=False)
