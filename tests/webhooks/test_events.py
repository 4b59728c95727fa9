"""Which names EVENTS accepts, and which change is selected by which of them."""

import pytest

from ferrite_hooks.webhooks.events import (
    CLASS_OF,
    KNOWN,
    SYSTEM_EVENTS,
    check_application_event,
    notifications,
    parse_events,
    selects,
    wide_name,
)


@pytest.mark.parametrize(
    ("notification", "wide"),
    [
        ("set", "SET"), ("incrby", "SET"), ("setbit", "SET"), ("pfadd", "SET"),
        ("del", "DEL"), ("expired", "EXPIRE"), ("expire", "TTL"), ("persist", "TTL"), ("evicted", "EVICT"),
        ("rename_from", "RENAME"), ("flushdb", "FLUSH"), ("lpush", "LPUSH"), ("lpop", "LPOP"),
        ("hincrbyfloat", "HSET"), ("hdel", "HDEL"), ("zincr", "ZADD"), ("zunionstore", "ZADD"),
        ("sinterstore", "SADD"), ("xadd", "XADD"), ("xgroup-create", "XGROUP-CREATE"),
        ("user.created", "user.created"),
    ],
)  # fmt: skip
def test_the_name_a_payload_carries(notification: str, wide: str) -> None:
    assert wide_name(notification) == wide


def test_every_notification_is_selected_by_its_wide_name_and_by_its_class() -> None:
    for notification, cls in CLASS_OF.items():
        assert selects(parse_events([wide_name(notification)]), notification)
        assert selects((f"@{cls}",), notification)
        assert selects(("*",), notification)


def test_every_known_name_is_accepted_and_selects_something() -> None:
    for name in KNOWN:
        assert parse_events([name]) == (name,)
        assert notifications((name,))


def test_set_with_ex_is_a_set_and_a_ttl_and_never_an_expiry() -> None:
    assert [e for e in ("set", "expire", "expired") if selects(("SET",), e)] == ["set"]
    assert [e for e in ("set", "expire", "expired") if selects(("TTL",), e)] == ["expire"]
    assert [e for e in ("set", "expire", "expired") if selects(("EXPIRE",), e)] == ["expired"]


def test_a_narrow_name_selects_nothing_beside_itself() -> None:
    assert notifications(parse_events(["incrby"])) == {"incrby"}
    assert notifications(parse_events(["hincrby", "LPOP"])) == {"hincrby", "lpop"}


def test_parsing_gives_canonical_names_once_in_order() -> None:
    tokens = ["del", "Set", "EXPIRED", "@String", "user.Created", "set", "expire", "webhook.*"]
    assert parse_events(tokens) == ("DEL", "SET", "EXPIRE", "@string", "user.Created", "webhook.*")


def test_either_name_of_a_rename_selects_it() -> None:
    for name in ("RENAME", "rename_from", "rename_to", "@generic", "*"):
        assert selects(parse_events([name]), "rename_from")
        assert not selects(parse_events([name]), "rename_to"), "a rename would be told twice"


def test_what_changes_nothing_is_never_selected() -> None:
    for notification in ("new", "keymiss"):
        assert not selects(("*",), notification)


@pytest.mark.parametrize(
    "token", ["bogus", "", "@bogus", "user", ".", "a..b", "a.b c", "x." + "y" * 200, "a.\r\n"]
)
def test_an_unknown_name_is_refused_with_what_is_known(token: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_events(["SET", token])
    message = str(refusal.value)
    assert "LPOP" in message and "@zset" in message and "\n" not in message


def test_no_events_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        parse_events([])


@pytest.mark.parametrize(
    ("glob", "event", "wanted"),
    [
        ("user.created", "user.created", True),
        ("user.created", "user.created.twice", False),
        ("user.*", "user.created", True),
        ("user.*", "user.role.assigned", True),
        ("user.*", "superuser.created", False),
        ("*.created", "user.created", True),
        ("*.role.*", "user.role.assigned", True),
        ("*.role.*", "user.role", False),
        ("a.*b*b", "a.b", False),
        ("a.*b*b", "a.bb", True),
    ],
)
def test_globs_of_application_events(glob: str, event: str, wanted: bool) -> None:
    assert selects(parse_events([glob]), event) is wanted


def test_a_hostile_glob_costs_no_time() -> None:
    assert not selects(parse_events(["a." + "*a" * 60]), "a." + "a" * 58 + "b" * 60)


def test_everything_includes_application_events_but_not_the_servers_own() -> None:
    assert selects(("*",), "user.created")
    for event in SYSTEM_EVENTS:
        assert not selects(("*",), event)
        assert selects(("webhook.*",), event)
        assert not selects(("@generic",), event)


def test_what_an_application_may_emit() -> None:
    check_application_event("user.created")
    check_application_event("redirect_uri.up-dated.v2")
    for bad in ("created", "user.*", "user.", "user created", "u.\n", "webhook.created", "x." + "y" * 127):
        with pytest.raises(ValueError):
            check_application_event(bad)
