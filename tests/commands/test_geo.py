"""Geo sets against redis-server: replies in both protocols, the order of search, events, final state."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word


@pytest.fixture(params=[2, 3])
def both(request: pytest.FixtureRequest, harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    pair = Pair(oracle, harness, request.param)
    yield pair
    pair.close()
    if request.param == 3:
        oracle("HELLO", 2)


def script(both: Pair, text: str) -> None:
    for line in text.strip().splitlines():
        both.check(*line.split())


SICILY = "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 12.758489 38.788135 edge1 17.2 38.8 edge2"


def test_members(both: Pair) -> None:
    script(
        both,
        f"""
        {SICILY}
        GEOADD g NX 0 0 Palermo
        GEOADD g XX CH 13.4 38.1 Palermo 1 1 none
        GEOADD g CH 180 85.05112878 corner -180 -85.05112878 origin
        GEOADD g 13.361389 38.115556 Palermo
        GEOPOS g Palermo Catania none corner origin
        GEOPOS none a
        GEOPOS g
        GEOHASH g Palermo Catania none corner origin
        GEOHASH none a b
        GEODIST g Palermo Catania
        GEODIST g Palermo Catania KM
        GEODIST g Palermo Catania ft
        GEODIST g Palermo Catania mi
        GEODIST g Palermo Palermo
        GEODIST g Palermo none
        GEODIST none a b
        ZRANGE g 0 -1 WITHSCORES
        """,
    )
    assert [event for event, _ in both.events()] == ["zadd"] * 4


def test_scores_that_no_position_has(both: Pair) -> None:
    script(
        both,
        """
        ZADD g inf a -inf b -1 c 1.5 d 9007199254740993 e 1e300 f -1e10 h
        GEOPOS g a b c d e f h
        GEOHASH g a b c d e f h
        GEODIST g c d
        """,
    )


def test_errors(both: Pair) -> None:
    script(
        both,
        f"""
        {SICILY}
        SET s v
        GEOADD g 181 0 m
        GEOADD g 0 -85.06 m
        GEOADD g x 0 m
        GEOADD g 0 nan m
        GEOADD g 1 1
        GEOADD g CH 1 1
        GEOADD g NX XX 1 1 m
        GEOADD g NX CH XX
        GEOADD g GT 1 1 m
        GEOADD s 1 1 m
        GEODIST g Palermo Catania yd
        GEODIST none Palermo Catania yd
        GEODIST g Palermo Catania m m
        GEODIST s a b
        GEOPOS s a
        GEOHASH s a
        GEORADIUS g 15 37 200
        GEORADIUS g 15 37 200 yd
        GEORADIUS g 15 37 -1 km
        GEORADIUS g 15 37 x km
        GEORADIUS g 15 87 1 km
        GEORADIUS g 15 37 200 km COUNT 0
        GEORADIUS g 15 37 200 km COUNT x
        GEORADIUS g 15 37 200 km COUNT
        GEORADIUS g 15 37 200 km ANY
        GEORADIUS g 15 37 200 km STORE
        GEORADIUS g 15 37 200 km STORE d WITHDIST
        GEORADIUS g 15 37 200 km STOREDIST d WITHCOORD
        GEORADIUS g 15 37 200 km BYBOX 1 1 km
        GEORADIUS s 15 37 200 km
        GEORADIUS_RO g 15 37 200 km STORE d
        GEORADIUSBYMEMBER g none 200 km
        GEORADIUSBYMEMBER g Palermo -1 km
        GEORADIUSBYMEMBER none Palermo -1 km
        GEORADIUSBYMEMBER none Palermo 1 km BAD
        GEORADIUSBYMEMBER_RO g Palermo 200 km STOREDIST d
        GEOSEARCH g FROMMEMBER Palermo ASC ASC ASC
        GEOSEARCH g BYRADIUS 1 km ASC ASC
        GEOSEARCH g FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 km
        GEOSEARCH g FROMLONLAT 1 1 FROMMEMBER Palermo BYRADIUS 1 km
        GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km BYBOX 1 1 km
        GEOSEARCH g FROMMEMBER Palermo BYBOX 1 1 km BYRADIUS 1 km
        GEOSEARCH g FROMMEMBER none BYBOX 1 1 km
        GEOSEARCH g FROMMEMBER Palermo BYBOX -1 1 km
        GEOSEARCH g FROMMEMBER Palermo BYBOX x 1 km
        GEOSEARCH g FROMMEMBER Palermo BYBOX 1 x km
        GEOSEARCH g FROMMEMBER Palermo BYBOX 1 1 yd
        GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km STOREDIST
        GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km STORE d
        GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km COUNT 1 ANY BAD
        GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km ANY
        geosearch none FROMMEMBER a ASC ASC ASC ASC
        GEOSEARCHSTORE d none FROMMEMBER a ASC ASC ASC ASC
        GEOSEARCHSTORE d g FROMMEMBER Palermo BYRADIUS 1 km WITHDIST
        GEOSEARCHSTORE d g FROMMEMBER Palermo BYRADIUS 1 km STOREDIST d
        GEOSEARCHSTORE d s FROMMEMBER Palermo BYRADIUS 1 km
        """,
    )
    assert [event for event, _ in both.events()] == ["zadd", "set"]


def test_searches(both: Pair) -> None:
    script(
        both,
        f"""
        {SICILY}
        GEORADIUS g 15 37 200 km WITHCOORD WITHDIST WITHHASH ASC
        GEORADIUS g 15 37 200 km WITHHASH DESC
        GEORADIUS g 15 37 100 mi COUNT 1
        GEORADIUS_RO g 15 37 200 km COUNT 2 ANY
        GEORADIUSBYMEMBER g Palermo 200 km WITHDIST ASC
        GEORADIUSBYMEMBER_RO g Palermo 0 m
        GEORADIUSBYMEMBER none Palermo 200 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km WITHCOORD WITHDIST ASC
        GEOSEARCH g BYBOX 400 400 km FROMMEMBER Catania DESC COUNT 3
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1e9 km ASC
        GEOSEARCH g FROMLONLAT 0 0 BYRADIUS 1 m
        GEOSEARCH none FROMMEMBER a BYRADIUS 1 m
        """,
    )


def test_stores(both: Pair) -> None:
    script(
        both,
        f"""
        {SICILY}
        GEORADIUS g 15 37 200 km STORE d
        ZRANGE d 0 -1 WITHSCORES
        GEORADIUS g 15 37 200 km COUNT 1 STOREDIST d
        ZRANGE d 0 -1
        GEORADIUSBYMEMBER g Palermo 200 km STOREDIST e STORE d
        GEOSEARCHSTORE d g FROMLONLAT 15 37 BYBOX 400 400 km ASC COUNT 3
        ZRANGE d 0 -1 WITHSCORES
        GEOSEARCHSTORE d g FROMLONLAT 15 37 BYBOX 400 400 km STOREDIST
        ZCARD d
        GEOSEARCHSTORE d g FROMLONLAT 0 0 BYBOX 1 1 km
        GEOSEARCHSTORE d none FROMLONLAT 0 0 BYBOX 1 1 km
        SET d v
        GEORADIUSBYMEMBER none Palermo 200 km STORE d
        """,
    )
    assert [event for event, _ in both.events()] == [
        "zadd", "georadiusstore", "georadiusstore", "georadiusstore", "geosearchstore", "geosearchstore",
        "del", "set", "del",
    ]  # fmt: skip


positions = st.tuples(st.floats(-180, 180), st.floats(-85.05, 85.05))
sizes = st.one_of(st.floats(0, 1000), st.floats(0, 25_000_000), st.just(0.0))


@pytest.mark.oracle
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(centre=positions, size=st.tuples(sizes, sizes), spread=st.sampled_from([0.01, 0.1, 5, 90]), seed=st.integers())
def test_random_searches(
    both: Pair, centre: tuple[float, float], size: tuple[float, float], spread: float, seed: int
) -> None:
    """The same points in the same order, for shapes of every size anywhere on the map."""
    rng = random.Random(seed)
    points: list[str | float] = []
    for n in range(60):
        longitude = (centre[0] + rng.uniform(-spread, spread) + 180) % 360 - 180
        latitude = max(-85.05, min(85.05, centre[1] + rng.uniform(-spread, spread)))
        points += (repr(longitude), repr(latitude), f"p{n}")
    both.check("ZREMRANGEBYRANK", "g", 0, -1)
    both.check("GEOADD", "g", *points)
    both.check("ZRANGE", "g", 0, -1, "WITHSCORES")
    search = ("GEOSEARCH", "g", "FROMLONLAT", repr(centre[0]), repr(centre[1]))
    circle, box = ("BYRADIUS", repr(size[0]), "m"), ("BYBOX", repr(size[0]), repr(size[1]), "m")
    for shape in (circle, box):
        both.check(*search, *shape)
        both.check(*search, *shape, "COUNT", 5, "ANY", "WITHCOORD", "WITHHASH")
        both.check(*search, *shape, "ASC", "WITHDIST")
        both.check(*search, *shape, "DESC", "COUNT", 7)


@pytest.mark.parametrize(("command", "effect"), [
    ("GEOADD g NX CH 13.361389 38.115556 Palermo", "ZADD g NX CH 3479099956230698 Palermo"),
    ("GEOADD g 15.087269 37.502669 Catania", ""),
    ("GEORADIUS g 15 37 200 km STORE d", "GEORADIUS g 15 37 200 km STORE d"),
    ("GEORADIUS g 15 37 200 km", ""),
    ("GEOSEARCHSTORE d g FROMLONLAT 0 0 BYRADIUS 1 m", ""),
])  # fmt: skip
def test_effects(harness: Harness, client: Client, command: str, effect: str) -> None:
    client("GEOADD", "g", 15.087269, 37.502669, "Catania")
    harness.effects()
    client(*command.split())
    assert harness.effects() == ([effect.encode().split()] if effect else [])


def test_webhooks_see_scores(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("GEOADD", "g", 15.087269, 37.502669, "Catania")
    client("GEOSEARCHSTORE", "d", "g", "FROMMEMBER", "Catania", "BYRADIUS", 1, "m", "STOREDIST")
    _, changes = harness.engine.drain()
    assert [(c.event, c.new, c.old) for c in changes] == [
        ("zadd", ("zset", [b"Catania", 3479447370796909.0]), None),
        ("geosearchstore", ("zset", [b"Catania", 0.0]), None),
    ]


def test_a_repeated_store_is_refused(client: Client) -> None:
    """Redis would write to the second key, which its key specifications, and so an ACL, do not name."""
    client("GEOADD", "g", 15, 37, "a")
    assert client.raw("GEORADIUS", "g", 15, 37, 1, "km", "STORE", "x", "STORE", "y") == b"-ERR syntax error\r\n"
    assert client("ZCARD", "y") == 0


def test_a_search_measures_only_what_is_near(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    points = [part for n in range(2000) for part in (rng.uniform(-170, 170), rng.uniform(-80, 80), n)]
    client("GEOADD", "g", *points, 15, 37, "here")
    measured = 0

    def counting(*args: float) -> float | None:
        nonlocal measured
        measured += 1
        return real(*args)  # type: ignore[arg-type]

    import ferrite_hooks.commands.geo as geo

    real = geo.distance_within
    monkeypatch.setattr(geo, "distance_within", counting)
    assert b"here" in client("GEOSEARCH", "g", "FROMLONLAT", 15, 37, "BYRADIUS", 50, "km")
    assert measured < 20


KEY = st.sampled_from(["g", "h", "string"])
PLACE = st.sampled_from(["a", "b", "c", "d", "e"])
LONGITUDE = st.sampled_from([-180, -1.5, 0, 0.001, 13.361389, 13.4, 180, 181])
LATITUDE = st.sampled_from([-85.05112878, 0, 0.001, 38.1, 38.115556, 85.05112878, 86])
SHAPE = st.sampled_from(["BYRADIUS 200 km", "BYRADIUS 0 m", "BYBOX 400 500 km", "BYBOX 1 1 mi", "BYRADIUS -1 m"])
CENTRE = st.one_of(PLACE.map(lambda place: f"FROMMEMBER {place}"), st.just("FROMLONLAT 13.4 38.1"))
ORDER = st.sampled_from(["ASC", "DESC", "ASC COUNT 2", "COUNT 1 DESC", "COUNT 0"])
SHOWN = st.sampled_from(["", "WITHCOORD", "WITHDIST WITHHASH", "WITHCOORD WITHDIST WITHHASH"])


def line(*parts: st.SearchStrategy[object] | str) -> st.SearchStrategy[tuple[Word, ...]]:
    drawn = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*drawn).map(lambda found: tuple(" ".join(map(str, found)).split()))


GEO = st.one_of(
    line("GEOADD", KEY, st.sampled_from(["", "NX", "XX", "CH", "XX CH", "NX XX"]), LONGITUDE, LATITUDE, PLACE),
    line("GEOADD", KEY, LONGITUDE, LATITUDE, PLACE, LONGITUDE, LATITUDE, PLACE),
    line("GEOADD", KEY, LONGITUDE, LATITUDE, PLACE),
    line("GEOPOS", KEY, PLACE, PLACE),
    line("GEOHASH", KEY, PLACE, PLACE),
    line("GEODIST", KEY, PLACE, PLACE, st.sampled_from(["", "km", "ft", "yd"])),
    line("GEOSEARCH", KEY, CENTRE, SHAPE, ORDER, SHOWN),
    line("GEOSEARCHSTORE", KEY, KEY, CENTRE, SHAPE, ORDER, st.sampled_from(["", "STOREDIST"])),
    line("GEORADIUS", KEY, "13.4 38.1 200 km", ORDER, st.sampled_from(["STORE h", "STOREDIST g", "WITHDIST"])),
    line("GEORADIUSBYMEMBER", KEY, PLACE, "200 km", ORDER, SHOWN),
    line("ZREM", KEY, PLACE),
    line("DEL", KEY),
)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(GEO, min_size=5, max_size=25), resp=st.sampled_from([2, 3]))
def test_random_histories(redis_port: int, history: list[tuple[Word, ...]], resp: int) -> None:
    start: list[tuple[Word, ...]] = [("SET", "string", "v"), tuple(SICILY.split())]
    play(redis_port, [*start, *history, ("ZRANGE", "g", 0, -1), ("ZCARD", "h")], resp)
