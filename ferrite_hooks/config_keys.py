"""Every configuration key once: a field of a frozen dataclass with its default, help and limits.

`config.py` derives all else from these fields: reading and refusing, command-line flags, Redis's names for
CONFIG GET/SET, config.example.toml. A key's full name is its path: `webhooks.delivery.timeout_ms`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Value = bool | int | float | str | tuple[str, ...]
T = TypeVar("T", bool, int, float, str, "tuple[str, ...]")

MB = 1 << 20
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about one key besides its value."""

    name: str  # full
    default: Value
    help: str
    unit: str = ""  # "bytes" (texts such as "64mb" are taken too), "milliseconds", …
    redis: str = ""  # Redis's name for it, "" = ours alone
    live: bool = False  # can change while the server runs
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], str] | None = None  # what is wrong with a value, "" = nothing
    secret: bool = False


def _key(default: T, help: str, **facts: Any) -> T:
    shown = not facts.get("secret", False)
    return dataclasses.field(default=default, repr=shown, metadata={"help": help, **facts})


# --- what some keys have to look like; each says what is wrong, "" = nothing ---


def _flags_error(text: str) -> str:
    unknown = "".join(sorted(set(text) - set("KEg$lshzxetdmnA")))
    return f"unknown flags {unknown!r}, known are K E g $ l s h z x e t d m n A" if unknown else ""


def _save_error(text: str) -> str:
    words = text.split()
    whole = len(words) % 2 == 0 and all(w.isdecimal() for w in words) and all(int(w) for w in words[::2])
    return "" if whole else "expected pairs of seconds and changes such as '3600 1 300 100'"


def _file_name_error(text: str) -> str:
    return "" if text and "/" not in text else "expected the name of a file in server.dir, without a path"


def _octal_error(text: str) -> str:
    return "" if re.fullmatch(r"[0-7]{3,4}|", text) else "expected an octal mode such as '700'"


def _clients_limit_error(text: str) -> str:
    try:
        if not text.endswith("%"):
            parse_size(text)
        elif int(text[:-1]) > 100:
            return "percentage argument must be less or equal to 100"
    except ValueError:
        return "argument must be a memory or percent value"
    return ""


def _protocols_error(text: str) -> str:
    unknown = [word for word in text.split() if word.lower() not in ("tlsv1.2", "tlsv1.3")]
    return f"{unknown[0]!r} is not among TLSv1.2 and TLSv1.3" if unknown else ""


def _networks_error(networks: tuple[str, ...]) -> str:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as e:
            return f"{network!r} is no network in CIDR form ({e})"
    return ""


def _buffer_limits_error(text: str) -> str:
    try:
        output_buffer_limits(text)
    except ValueError as e:
        return str(e)
    return ""


def output_buffer_limits(text: str) -> dict[str, tuple[int, int, int]]:
    """Class of client -> (hard bytes, soft bytes, soft seconds) from Redis's form. Raises ValueError."""
    words = text.lower().replace("slave", "replica").split()
    if len(words) % 4:
        raise ValueError("Wrong number of arguments in buffer limit configuration.")
    limits = {}
    for kind, hard, soft, seconds in zip(*[iter(words)] * 4, strict=True):
        if kind not in ("normal", "replica", "pubsub"):
            raise ValueError("Invalid client class specified in buffer limit configuration.")
        try:
            limits[kind] = (parse_size(hard), parse_size(soft), int(seconds))
        except ValueError:
            seconds = "-"
        if not seconds.isdecimal():
            raise ValueError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
    return limits


def parse_size(text: str) -> int:
    """'64mb' -> 67108864, as Redis: k m g are powers of 1000, kb mb gb of 1024. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,19})(b|[kmg]b?)?", text.strip().lower())
    if match is None:
        raise ValueError(f"expected a number of bytes such as 1048576 or '1mb', got {text!r}")
    unit = match[2] or "b"
    power = " kmg".index(unit[0]) if unit[0] != "b" else 0
    size: int = int(match[1]) * (1024 if len(unit) == 2 else 1000) ** power
    return size


# --- the keys ---

_PORT: dict[str, Any] = {"low": 0, "high": 65535}
_BYTES: dict[str, Any] = {"unit": "bytes", "low": 0}
_MS: dict[str, Any] = {"unit": "milliseconds", "low": 0}


@dataclass(frozen=True, slots=True)
class Server:
    bind: tuple[str, ...] = _key(
        ("127.0.0.1", "-::1"),
        "Addresses to listen on. A leading '-' means: go on without it where the machine does not have it",
        redis="bind",
        live=True,
    )
    port: int = _key(6379, "TCP port, 0 = none", redis="port", live=True, **_PORT)
    unixsocket: str = _key("", "Path of a Unix socket to listen on as well", redis="unixsocket")
    unixsocketperm: str = _key("700", "Its octal mode", redis="unixsocketperm", check=_octal_error)
    dir: str = _key("./ferrite-data", "Where everything that lasts is kept; made with mode 0700", redis="dir")
    databases: int = _key(16, "Number of databases", redis="databases", low=1, high=65536)
    protected_mode: bool = _key(
        True,
        "Refuse clients from other machines as long as the default user has no password",
        redis="protected-mode",
        live=True,
    )
    requirepass: str = _key("", "Password of the default user", redis="requirepass", live=True, secret=True)
    aclfile: str = _key("", "File with ACL users, read at the start and by ACL LOAD", redis="aclfile")
    acl_pubsub_default: str = _key(
        "resetchannels",
        "Channels that new ACL users may use: all or none",
        redis="acl-pubsub-default",
        live=True,
        choices=("allchannels", "resetchannels"),
    )
    enable_debug_command: str = _key(
        "no",
        "Who may use DEBUG: nobody, everybody, or clients on this machine",
        redis="enable-debug-command",
        choices=("no", "yes", "local"),
    )
    maxclients: int = _key(10_000, "Most connections at a time", redis="maxclients", live=True, low=1)
    timeout: int = _key(
        0,
        "Close connections that are idle this long, 0 = never",
        redis="timeout",
        live=True,
        unit="seconds",
        low=0,
    )
    tcp_keepalive: int = _key(
        300, "TCP keepalive interval, 0 = off", redis="tcp-keepalive", live=True, unit="seconds", low=0
    )
    tcp_backlog: int = _key(511, "Length of the accept queue", redis="tcp-backlog", low=1)
    client_query_buffer_limit: int = _key(
        1024 * MB,
        "Most bytes of one unfinished command",
        redis="client-query-buffer-limit",
        live=True,
        **_BYTES,
    )
    proto_max_bulk_len: int = _key(
        512 * MB,
        "Longest argument and longest string value",
        redis="proto-max-bulk-len",
        live=True,
        unit="bytes",
        low=MB,
        high=4096 * MB,
    )
    client_output_buffer_limit: str = _key(
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
        "Close clients that read too slowly: class, hard bytes, soft bytes, seconds over soft",
        redis="client-output-buffer-limit",
        live=True,
        check=_buffer_limits_error,
    )
    maxmemory: int = _key(
        0,
        "Most memory in use by the whole process, which starts with some 40 MB; 0 = no limit",
        redis="maxmemory",
        live=True,
        **_BYTES,
    )
    maxmemory_clients: str = _key(
        "0",
        "Most memory that all clients together may take: bytes, a text such as '64mb', or '5%' of maxmemory; the"
        " largest are disconnected. '0' = no limit",
        redis="maxmemory-clients",
        live=True,
        check=_clients_limit_error,
    )
    maxmemory_policy: str = _key(
        "noeviction",
        "What goes when memory is full",
        redis="maxmemory-policy",
        live=True,
        choices=(
            "noeviction",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
        ),
    )
    maxmemory_samples: int = _key(
        5, "Keys looked at for each eviction", redis="maxmemory-samples", live=True, low=1, high=64
    )
    maxmemory_eviction_tenacity: int = _key(
        10,
        "How long one round of evicting may take: 0 = a few keys, 10 = half a millisecond, 100 = until there is room",
        redis="maxmemory-eviction-tenacity",
        live=True,
        low=0,
        high=100,
    )
    notify_keyspace_events: str = _key(
        "",
        "Classes of keyspace notifications to publish, e.g. 'KEA'",
        redis="notify-keyspace-events",
        live=True,
        check=_flags_error,
    )
    slowlog_log_slower_than: int = _key(
        10_000,
        "Log commands that take longer, -1 = none",
        redis="slowlog-log-slower-than",
        live=True,
        unit="microseconds",
        low=-1,
    )
    slowlog_max_len: int = _key(128, "Entries that SLOWLOG keeps", redis="slowlog-max-len", live=True, low=0)
    latency_monitor_threshold: int = _key(
        0,
        "LATENCY records events that take at least this long, 0 = off",
        redis="latency-monitor-threshold",
        live=True,
        **_MS,
    )
    busy_reply_threshold: int = _key(
        5000,
        "Scripts that run longer make the server answer BUSY",
        redis="busy-reply-threshold",
        live=True,
        **_MS,
    )
    loglevel: str = _key(
        "notice",
        "How much is logged",
        redis="loglevel",
        live=True,
        choices=("debug", "verbose", "notice", "warning"),
    )
    logformat: str = _key("text", "One line of text or one JSON object per entry", choices=("text", "json"))
    metrics_bind: str = _key("127.0.0.1", "Address of metrics and health")
    metrics_port: int = _key(9122, "Its port, 0 = off", **_PORT)
    tls_port: int = _key(0, "TLS port, 0 = none", redis="tls-port", live=True, **_PORT)
    tls_cert_file: str = _key("", "Certificate chain, PEM", redis="tls-cert-file", live=True)
    tls_key_file: str = _key("", "Private key, PEM", redis="tls-key-file", live=True)
    tls_key_file_pass: str = _key(
        "", "Passphrase of an encrypted private key", redis="tls-key-file-pass", live=True, secret=True
    )
    tls_ca_cert_file: str = _key(
        "", "CA that client certificates are checked with", redis="tls-ca-cert-file", live=True
    )
    tls_auth_clients: str = _key(
        "yes",
        "Whether clients need a certificate of that CA",
        redis="tls-auth-clients",
        live=True,
        choices=("yes", "no", "optional"),
    )
    tls_protocols: str = _key(
        "", "TLSv1.2, TLSv1.3 or both; '' = both", redis="tls-protocols", live=True, check=_protocols_error
    )
    tls_ciphers: str = _key("", "TLS 1.2 ciphers in OpenSSL's form, '' = Python's", redis="tls-ciphers", live=True)
    tls_prefer_server_ciphers: bool = _key(
        False, "The server's order of ciphers counts, not the client's", redis="tls-prefer-server-ciphers", live=True
    )


@dataclass(frozen=True, slots=True)
class Encodings:
    hash_max_listpack_entries: int = _key(
        512, "Larger hashes are hashtable", redis="hash-max-listpack-entries", live=True, low=0
    )
    hash_max_listpack_value: int = _key(
        64, "Hashes with longer values are hashtable", redis="hash-max-listpack-value", live=True, **_BYTES
    )
    list_max_listpack_size: int = _key(
        -2,
        "Node size of lists: entries, or -1 to -5 for 4 to 64 KiB",
        redis="list-max-listpack-size",
        live=True,
        low=-(2**31),
    )
    set_max_intset_entries: int = _key(
        512, "Larger sets of integers are hashtable", redis="set-max-intset-entries", live=True, low=0
    )
    zset_max_listpack_entries: int = _key(
        128, "Larger sorted sets are skiplist", redis="zset-max-listpack-entries", live=True, low=0
    )
    zset_max_listpack_value: int = _key(
        64,
        "Sorted sets with longer members are skiplist",
        redis="zset-max-listpack-value",
        live=True,
        **_BYTES,
    )
    hll_sparse_max_bytes: int = _key(
        3000, "Longer HyperLogLogs are dense", redis="hll-sparse-max-bytes", live=True, **_BYTES
    )
    stream_node_max_bytes: int = _key(
        4096,
        "Size of a stream's nodes: what '~' trimming goes by",
        redis="stream-node-max-bytes",
        live=True,
        **_BYTES,
    )
    stream_node_max_entries: int = _key(
        100, "Entries of a stream's nodes", redis="stream-node-max-entries", live=True, low=0
    )


@dataclass(frozen=True, slots=True)
class Journal:
    enabled: bool = _key(True, "Keep data, events and webhooks over a restart", redis="appendonly")
    fsync: str = _key(
        "everysec",
        "When writes are forced to the disk: before the reply, each second, or by the kernel",
        redis="appendfsync",
        live=True,
        choices=("always", "everysec", "no"),
    )
    segment_bytes: int = _key(64 * MB, "Size at which a journal file ends", unit="bytes", low=4096)
    compact_min_bytes: int = _key(
        64 * MB,
        "A snapshot replaces the journal once it has this size",
        redis="auto-aof-rewrite-min-size",
        live=True,
        **_BYTES,
    )
    compact_percentage: int = _key(
        100,
        "… and has grown by this much since the last one, 0 = never",
        redis="auto-aof-rewrite-percentage",
        live=True,
        unit="percent",
        low=0,
    )
    retention_ms: int = _key(DAY_MS, "How long events stay for WEBHOOK.REPLAY SINCE", live=True, **_MS)
    retention_bytes: int = _key(1024 * MB, "… but at most this much of the journal", live=True, **_BYTES)
    repair: bool = _key(False, "Set damaged parts aside as .bad files and start with what is before them")


@dataclass(frozen=True, slots=True)
class Snapshot:
    file: str = _key(
        "dump.rdb", "Name of the snapshot in dir, an RDB file", redis="dbfilename", check=_file_name_error
    )
    save: str = _key(
        "",
        "Save after so many seconds with so many changes, e.g. '3600 1 300 100'; '' = only when asked, or when the"
        " journal has grown (it keeps every change anyway)",
        redis="save",
        live=True,
        check=_save_error,
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    timeout_ms: int = _key(
        5000,
        "Time for one request, from connecting to the response's end",
        live=True,
        unit="milliseconds",
        low=1,
    )
    max_retries: int = _key(3, "Retries after the first attempt; then the event is dead", live=True, low=0, high=100)
    retry_delay_ms: int = _key(1000, "Delay before the first retry", live=True, unit="milliseconds", low=1)
    backoff: str = _key("exponential", "How the delay grows", live=True, choices=("fixed", "linear", "exponential"))
    backoff_multiplier: float = _key(
        2.0, "Exponential: each delay is the last one times this", live=True, low=1, high=100
    )
    max_retry_delay_ms: int = _key(60_000, "Longest delay, also for Retry-After", live=True, unit="milliseconds", low=1)
    jitter: float = _key(0.2, "Random part of each delay, 0.2 = ±20 %", live=True, low=0, high=1)
    concurrency: int = _key(16, "Requests in flight of one webhook", live=True, low=1, high=1000)
    max_connections: int = _key(512, "Requests in flight of all webhooks", low=1)
    sender_processes: int = _key(
        -1,
        "Processes that send requests, so that commands need not wait for it: 0 = none, -1 = one less than there are"
        " cores, from 1 to 4",
        low=-1,
        high=64,
    )
    sender_nice: int = _key(
        10,
        "Their nice value beside the server's: commands go first where cores are short, 0 = no difference",
        low=0,
        high=19,
    )
    circuit_failures: int = _key(5, "Failures in a row that open a webhook's circuit", live=True, low=1)
    disable_after_ms: int = _key(
        5 * DAY_MS, "A webhook that has only failed for this long is disabled, 0 = never", live=True, **_MS
    )
    max_response_bytes: int = _key(65_536, "Most that is read of a response", live=True, **_BYTES)
    shutdown_ms: int = _key(5000, "How long a shutdown waits for requests in flight", live=True, **_MS)


@dataclass(frozen=True, slots=True)
class Queue:
    max_pending: int = _key(
        10_000,
        "Most events that wait, of each webhook and of all. When all have so many, a webhook with less than its equal"
        " part of them is still let in",
        live=True,
        low=1,
    )
    max_user_pending: int = _key(
        0, "Most events that wait for all webhooks of one ACL user who is no administrator, 0 = any", live=True, low=0
    )
    memory_events: int = _key(
        100_000,
        "Pending events that are kept in memory, of all webhooks; those beyond are read back from the journal when"
        " their turn comes",
        live=True,
        low=1000,
    )
    persistence: bool = _key(True, "Pending events survive a restart (they are in the journal)")
    overflow: str = _key(
        "drop_oldest",
        "What happens when a queue is full: 'reject' refuses the write that would fire",
        live=True,
        choices=("drop_oldest", "drop_newest", "reject"),
    )
    max_dead: int = _key(10_000, "Dead letters that are kept, of all webhooks", live=True, low=0)
    history_rows: int = _key(100_000, "Deliveries that the history keeps", live=True, low=0)
    history_ms: int = _key(7 * DAY_MS, "How long the history keeps them", live=True, **_MS)


@dataclass(frozen=True, slots=True)
class Security:
    verify_ssl: bool = _key(True, "Check receivers' certificates", live=True)
    allowed_hosts: tuple[str, ...] = _key((), "Globs of hosts that webhooks may call, empty = all allowed", live=True)
    block_private_networks: bool = _key(False, "Refuse loopback, private and carrier-grade NAT addresses", live=True)
    allowed_networks: tuple[str, ...] = _key((), "CIDR exceptions to that", live=True, check=_networks_error)
    ca_file: str = _key("", "CA certificates to trust besides the system's, PEM", live=True)
    client_cert_file: str = _key("", "Client certificate for mutual TLS, PEM", live=True)
    client_key_file: str = _key("", "Its private key, PEM", live=True)


@dataclass(frozen=True, slots=True)
class Webhooks:
    enabled: bool = _key(True, "Capture and deliver events")
    max_webhooks: int = _key(1000, "Most webhooks", live=True, low=0)
    max_user_webhooks: int = _key(
        0, "Most webhooks of one ACL user who is no administrator (@admin), 0 = any number", live=True, low=0
    )
    max_batch_size: int = _key(
        100, "Most events of one batch, and the default of BATCH_SIZE", live=True, low=1, high=10_000
    )
    batch_interval_ms: int = _key(1000, "Longest wait for a batch to fill", live=True, **_MS)
    max_value_bytes: int = _key(65_536, "Longer values are left out of payloads", live=True, **_BYTES)
    delivery: Delivery = Delivery()
    queue: Queue = Queue()
    security: Security = Security()


@dataclass(frozen=True, slots=True)
class Config:
    server: Server = Server()
    encodings: Encodings = Encodings()
    journal: Journal = Journal()
    snapshot: Snapshot = Snapshot()
    webhooks: Webhooks = Webhooks()


def contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """What single keys cannot tell."""
    if not (values["server.port"] or values["server.tls_port"] or values["server.unixsocket"]):
        yield "server.port: with port = 0, server.tls_port or server.unixsocket has to be set"
    if values["server.tls_port"] and not (values["server.tls_cert_file"] and values["server.tls_key_file"]):
        yield "server.tls_port: TLS needs server.tls_cert_file and server.tls_key_file"
    if values["server.tls_port"] and values["server.tls_port"] == values["server.port"]:
        yield f"server.tls_port: {values['server.port']} is server.port already"
    if values["server.tls_port"] and values["server.tls_auth_clients"] != "no":
        if not values["server.tls_ca_cert_file"]:
            yield "server.tls_auth_clients: needs server.tls_ca_cert_file, unless it is 'no'"
    if bool(values["webhooks.security.client_cert_file"]) != bool(values["webhooks.security.client_key_file"]):
        yield "webhooks.security.client_cert_file: certificate and client_key_file go together"
    if values["webhooks.delivery.max_retry_delay_ms"] < values["webhooks.delivery.retry_delay_ms"]:
        yield "webhooks.delivery.max_retry_delay_ms: it is shorter than webhooks.delivery.retry_delay_ms"
