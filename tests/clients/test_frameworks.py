"""What people run on Redis, run on this server: RQ, Celery, Django's cache, Flask-Limiter, what Sidekiq does.

Workers are processes of their own, as in production; each test ends them by their pid.
"""

from __future__ import annotations

import json
import operator
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import ServerProcess

# --- RQ -----------------------------------------------------------------------------------------------------


def test_rq_runs_jobs(server: ServerProcess) -> None:
    import rq
    from rq.job import JobStatus

    url = f"redis://127.0.0.1:{server.port}"
    with server.client() as client:
        queue = rq.Queue(connection=client)
        job = queue.enqueue(operator.mul, 6, 7, result_ttl=60)
        failing = queue.enqueue(operator.truediv, 1, 0)
        dependent = queue.enqueue(operator.add, "a", "b", depends_on=job)
        retried = queue.enqueue(operator.truediv, 1, 0, retry=rq.Retry(max=1))
        assert job.get_status() == JobStatus.QUEUED
        done = subprocess.run(
            [sys.executable, "-m", "rq.cli", "worker", "--burst", "--quiet", "--url", url],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert job.return_value(refresh=True) == 42
        assert dependent.return_value(refresh=True) == "ab"
        assert failing.get_status(refresh=True) == JobStatus.FAILED
        assert "ZeroDivisionError" in failing.latest_result().exc_string
        assert retried.get_status(refresh=True) == JobStatus.FAILED
        retried.refresh()
        assert retried.retries_left == 0
        assert queue.finished_job_registry.count == 2
        assert queue.failed_job_registry.count == 2


# --- Celery -------------------------------------------------------------------------------------------------

TASKS = """
import celery

app = celery.Celery("tasks", broker="{url}/1", backend="{url}/2")
app.conf.update(result_extended=True, broker_connection_retry_on_startup=True)

@app.task
def add(a, b):
    return a + b

@app.task(bind=True, max_retries=2, default_retry_delay=0)
def stubborn(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries

@app.task
def fail():
    raise ValueError("as asked")
"""


@pytest.fixture
def tasks(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of tasks, whose worker runs."""
    (tmp_path / "ferrite_tasks.py").write_text(TASKS.format(url=f"redis://127.0.0.1:{server.port}"))
    monkeypatch.syspath_prepend(str(tmp_path))
    log = (tmp_path / "worker.log").open("wb")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "ferrite_tasks", "worker", "--pool", "solo", "--loglevel", "warning"],
        cwd=tmp_path, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        import ferrite_tasks  # type: ignore[import-not-found]

        yield ferrite_tasks
        ferrite_tasks.app.close()
    finally:
        sys.modules.pop("ferrite_tasks", None)
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        log.close()


def test_celery_broker_and_backend(tasks: Any, server: ServerProcess) -> None:
    import celery

    assert tasks.add.delay(40, 2).get(timeout=15) == 42
    assert celery.group(tasks.add.s(n, n) for n in range(10))().get(timeout=10) == [2 * n for n in range(10)]
    assert celery.chain(tasks.add.s(1, 2), tasks.add.s(3))().get(timeout=10) == 6
    assert celery.chord([tasks.add.s(n, 1) for n in range(3)], tasks.add.si(5, 5))().get(timeout=10) == 10
    assert tasks.stubborn.delay().get(timeout=10) == 2
    with pytest.raises(ValueError, match="as asked"):
        tasks.fail.delay().get(timeout=10)
    assert tasks.add.apply_async((1, 1), countdown=0.2).get(timeout=10) == 2
    with server.client(db=2) as results:
        assert 0 < results.ttl(next(results.scan_iter("celery-task-meta-*"))) <= 86_400


# --- Django -------------------------------------------------------------------------------------------------

DJANGO = """
import sys

import django
from django.conf import settings

settings.configure(
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": sys.argv[1],
                        "KEY_PREFIX": "site"}},
    INSTALLED_APPS=["django.contrib.sessions"], SESSION_ENGINE="django.contrib.sessions.backends.cache",
)
django.setup()
from django.core.cache import cache
from django.contrib.sessions.backends.cache import SessionStore

cache.set("k", {"nested": [1, "ü", None]}, 60)
assert cache.get("k") == {"nested": [1, "ü", None]}
assert cache.add("k", 1) is False and cache.add("new", 1) is True
assert cache.incr("new", 41) == 42 and cache.decr("new") == 41
assert cache.get("none", "default") == "default"
cache.set_many({f"m{n}": n for n in range(100)}, 60)
assert cache.get_many([f"m{n}" for n in range(101)]) == {f"m{n}": n for n in range(100)}
assert cache.touch("k", 100) is True and cache.touch("none") is False
assert cache.has_key("k") and cache.delete("k") and not cache.delete("k")
cache.delete_many(["m1", "m2"])
assert cache.get_or_set("lazy", lambda: 7) == 7
session = SessionStore()
session["user"] = "Alice"
session.save()
assert SessionStore(session.session_key)["user"] == "Alice"
session.flush()
cache.clear()
assert cache.get("new") is None
print("done")
"""


def test_django_cache_and_sessions(server: ServerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, f"redis://127.0.0.1:{server.port}/3"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr
    with server.client(db=3) as client:
        assert client.dbsize() == 0


# --- limits (what Flask-Limiter and others count with) -------------------------------------------------------


@pytest.mark.parametrize("strategy", ["FixedWindow", "MovingWindow", "SlidingWindowCounter"])
def test_rate_limits(server: ServerProcess, strategy: str) -> None:
    import limits
    from limits import storage, strategies

    store = storage.storage_from_string(f"redis://127.0.0.1:{server.port}")
    limiter = getattr(strategies, strategy + "RateLimiter")(store)
    rate = limits.parse("5 per hour")
    assert store.check()
    assert [limiter.hit(rate, "user", "1") for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.hit(rate, "user", "2") is True
    window = limiter.get_window_stats(rate, "user", "1")
    assert window.remaining == 0 and time.time() < window.reset_time <= time.time() + 7200
    limiter.clear(rate, "user", "1")
    assert limiter.test(rate, "user", "1") is True


# --- Flask-Limiter ------------------------------------------------------------------------------------------

FLASK = """
import sys

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

app = Flask("site")
limiter = Limiter(get_remote_address, app=app, storage_uri=sys.argv[1], strategy=sys.argv[2], headers_enabled=True)

@app.route("/")
@limiter.limit("3 per hour")
def index():
    return "fine"

@app.route("/shared")
@limiter.shared_limit("1 per hour", scope="all of them")
def shared():
    return "fine"

def ask(path, address):
    return app.test_client().get(path, environ_base={"REMOTE_ADDR": address})

assert [ask("/", "192.0.2.1").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
assert ask("/", "192.0.2.2").headers["X-RateLimit-Remaining"] == "2"
refused = ask("/", "192.0.2.1")
assert refused.headers["X-RateLimit-Remaining"] == "0" and 0 < int(refused.headers["Retry-After"]) <= 7200
assert [ask("/shared", "192.0.2.1").status_code for _ in range(2)] == [200, 429]
limiter.reset()
assert ask("/", "192.0.2.1").status_code == 200
print("done")
"""


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_flask_limiter(server: ServerProcess, strategy: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLASK, f"redis://127.0.0.1:{server.port}/4", strategy],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr
    with server.client(db=4) as client:
        assert 0 < client.ttl(client.keys("*")[0]) <= 7200


# --- Sidekiq (its commands and what its script does; Ruby itself is not needed) ------------------------------

DUE = """
local due = redis.call("zrange", KEYS[1], "-inf", ARGV[1], "byscore", "limit", 0, 1)[1]
if due then
  redis.call("zrem", KEYS[1], due)
end
return due
"""


def test_what_sidekiq_does(server: ServerProcess) -> None:
    """Pushing in bulk, fetching with BRPOP, scheduling through a script, counting and heartbeats in MULTI."""
    now = time.time()
    jobs = [json.dumps({"class": "Mailer", "jid": f"{n:024x}", "args": [n], "enqueued_at": now}) for n in range(6)]
    with server.client(decode_responses=True) as client, server.client(decode_responses=True) as worker:
        with client.pipeline(transaction=True) as push:
            push.sadd("queues", "default", "low")
            push.lpush("queue:default", *jobs[:3])
            push.zadd("schedule", {jobs[3]: now - 1, jobs[4]: now - 2, jobs[5]: now + 3600})
            assert push.execute() == [2, 3, 3]
        due = client.register_script(DUE)
        while job := due(keys=["schedule"], args=[now]):
            client.lpush("queue:low", job)
        assert client.zrange("schedule", 0, -1) == [jobs[5]]
        fetched = []
        for _ in range(5):
            _, job = worker.brpop(["queue:default", "queue:low"], 2)
            fetched.append(job)
            day = time.strftime("%Y-%m-%d", time.gmtime())
            with worker.pipeline(transaction=True) as beat:
                beat.incrby("stat:processed", 1)
                beat.incrby(f"stat:processed:{day}", 1)
                beat.expire(f"stat:processed:{day}", 5 * 365 * 86_400, nx=True)
                beat.sadd("processes", "host:1:abc")
                beat.hset("host:1:abc", mapping={"busy": 1, "beat": time.time(), "quiet": "false"})
                beat.expire("host:1:abc", 60)
                beat.rpop("host:1:abc-signals")
                assert beat.execute()[-1] is None
        assert fetched == [*jobs[:3], jobs[4], jobs[3]]
        assert worker.brpop("queue:default", 0.05) is None
        assert client.get("stat:processed") == "5" and list(client.sscan_iter("processes")) == ["host:1:abc"]
        client.zadd("retry", {jobs[0]: now + 30})
        assert [score for _, score in client.zscan_iter("retry", "*" + "0" * 24 + "*")] == [now + 30]
        assert client.zremrangebyscore("retry", now + 30, now + 30) == 1
        assert client.set("leader", "a", nx=True, px=20_000) and not client.set("leader", "b", nx=True, px=20_000)
