"""The delivery library's face: webhooks are made, changed and asked about here; changes come in here.

    manager = Manager(seams, settings, limits)
    for frame in journal: manager.replay(frame.changes, frame.notes)
    manager.start()
    ...
    engine.set_interest(manager.matcher)             # asked at every write
    manager.accept(changes)                           # once per tick, after the journal has them

Every method runs in the loop's thread and returns at once. What has to survive a restart is noted for the journal
before the method returns. Methods that refuse raise Refusal, with a sentence for the client, and change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from ferrite_hooks.counters import DURABLE, WebhookCounters, WebhookSample
from ferrite_hooks.store.frames import Frame
from ferrite_hooks.webhooks.changes import revive
from ferrite_hooks.webhooks.conditions import conditions_hold
from ferrite_hooks.webhooks.definition import to_plain
from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.desk import Desk, Note, Seams, Settings
from ferrite_hooks.webhooks.events import check_application_event
from ferrite_hooks.webhooks.history import History
from ferrite_hooks.webhooks.lanes import SENT, Parcel, Pending
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Change, Outcome, Webhook
from ferrite_hooks.webhooks.options import Limits, Parsed, Refusal, check_name, check_url, parse, read_secret, shown
from ferrite_hooks.webhooks.payload import canonical_json, event_id
from ferrite_hooks.webhooks.registry import Registry
from ferrite_hooks.webhooks.restore import Restoration
from ferrite_hooks.webhooks.retry import describe

DAY_SECONDS = 86_400
_EVENT_ID = re.compile(r"evt_[0-9a-z]*([0-9a-hjkmnp-tv-z]{13})")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_HOOKS = Change.__struct_fields__.index("hooks")


class Manager:
    """All webhooks of one server."""

    def __init__(
        self,
        outside: Seams,
        settings: Settings | None = None,
        limits: Limits | None = None,
        defaults: Webhook | None = None,
    ) -> None:
        """`defaults`: what a new webhook has where CREATE does not say otherwise."""
        self.outside = outside
        self.desk = Desk(outside, settings or Settings())
        self.limits = limits or Limits()
        self.defaults = defaults or Webhook(serial=0, name="", url="")
        self.matcher = Matcher(outside.may_read, outside.reads_all)
        self.registry = Registry(self.matcher)
        self.departed = WebhookCounters()  # of deleted webhooks, so that totals never go back
        self.on_change: Callable[[], None] = lambda: None  # definitions have changed
        self.history: History | None = None
        self.frames: Callable[[], Iterable[Frame]] | None = None  # reads the journal, in any thread
        self.position = 0  # the last that was accepted
        self._restoration: Restoration | None = Restoration(self.registry, self._make)

    # -- start -------------------------------------------------------------------------------------------------

    def replay(self, changes: Iterable[Sequence[Any]], notes: Iterable[Note], frame: int = 0) -> None:
        """One frame of the journal, by its number (or `state()` of a snapshot as notes of frame 0), in order, before
        `start`."""
        if self._restoration is None:
            raise RuntimeError("already started")
        self._restoration.replay(changes, notes, frame)

    def start(self, first_frame: int = 0) -> int:
        """Begins to deliver. Returns the highest position that the journal has told of. Pending events that stand
        before `first_frame` are lost, which is logged."""
        if self._restoration is None:
            raise RuntimeError("already started")
        restoration, self._restoration = self._restoration, None
        self.review()
        restoration.finish(self.outside.pick, first_frame)
        self.position = restoration.last_position
        return self.position

    def state(self) -> list[Note]:
        """Notes that rebuild the present state: what a snapshot keeps. What is pending is whole in them if it is in
        memory; of the rest they have the place in the journal, whose frames from `lowest_frame` on have to stay."""
        self.desk.flush()
        notes: list[Note] = []
        for delivery in self.registry:
            serial = delivery.webhook.serial
            notes.append(["hook", serial, to_plain(delivery.webhook)])
            lanes = delivery.queue.lanes
            pending = [[event.change, event.coalesced] for event in lanes.placed()]
            notes.append(["queue", serial, pending + [[change, 0] for change in lanes.arrived]])
            for event in lanes.placed():
                parcel = event.parcel
                if parcel is not None and parcel.events[0] is event:
                    under_way = event.state == SENT
                    if parcel.attempt > under_way:
                        notes.append(delivery.retry_note(parcel))
            spill = delivery.queue.spill
            if spill.size:
                notes.append(["spilled", serial, *spill.packed(), spill.since, spill.merged])
                notes += [["retry", serial, *tried] for tried in spill.tried.values()]
            for letter in delivery.dead.values():
                notes.append(["letter", serial, letter.change, *letter[1:]])
            if delivery.circuit.failures:
                notes.append(delivery.failing_note(self.outside.clock.now))
            counted = {name: getattr(delivery.counters, name) for name in (*DURABLE, "last_delivery")}
            notes.append(["counters", serial, counted])
        notes.append(["serial", self.registry.next_serial])
        return notes

    @property
    def lowest_frame(self) -> int:
        """The first frame of the journal that has a pending event which is nowhere else, 0 if there is none."""
        return min((d.queue.spill.lowest_frame for d in self.registry if d.queue.spill.size), default=0)

    # -- changes -----------------------------------------------------------------------------------------------

    def accept(self, changes: Sequence[Change], frame: int = 0) -> None:
        """Queues changes that the journal has, in its frame of this number (0: there is no journal). To be called once
        per tick."""
        if changes:
            self.position = changes[-1].position
            self.registry.distribute(changes, frame)

    def refuses(self, db: int, events: Iterable[str], keys: Iterable[bytes | None]) -> str | None:
        """The name of a full webhook with OVERFLOW reject that would be told of one of these events of one of these
        keys; None if the write may go on."""
        keys = list(keys)
        for event in events:
            for key in keys:
                for serial in self.matcher.match(db, event, key):
                    delivery = self.registry.get(serial)
                    if delivery is not None and delivery.full:
                        return delivery.webhook.name
        return None

    def emit(
        self, event: str, user: str, *, key: bytes | None = None, resource: str = "", data: bytes = b"null",
        db: int = 0, command: str = "", client: int = 0, ip: str = "", transaction: int = 0,
    ) -> str:  # fmt: skip
        """Publishes an application event of the user `user`. Returns its id. With a key it goes to webhooks whose
        owners may read that, without one to the user's own and to those of owners who may read every key.

        Raises Refusal for a bad name or data that is no JSON.
        """
        try:
            check_application_event(event)
        except ValueError as refused:
            raise Refusal(str(refused)) from None
        try:
            data = canonical_json(data)
        except ValueError as refused:
            raise Refusal(f"DATA has to be JSON: {refused}") from None
        if len(data) > self.desk.settings.max_value_bytes:
            raise Refusal(f"DATA: at most {self.desk.settings.max_value_bytes} bytes")
        hooks = self.matcher.match(db, event, key)
        if key is None:
            hooks = tuple(serial for serial in hooks if self._may_hear(self.registry.get(serial), user))
        position = self.outside.next_position()
        now = self.outside.clock.now
        self._publish(
            Change(
                position, now, db, event, key, ("json", data), None, 0, command, client, ip, transaction, hooks,
                resource,
            )
        )  # fmt: skip
        return event_id(self.outside.journal_id, position)

    def _publish(self, change: Change) -> None:
        if change.hooks:
            self.outside.publish(change)

    def _tell(self, event: str, delivery: Delivery, data: dict[str, object]) -> None:
        """An event of our own. Webhooks hear of others only, and only of those that their owner may see."""
        about = delivery.webhook
        if event == "webhook.disabled" and about.enabled:
            self._change(delivery, replace(about, enabled=False, disabled_reason=str(data["reason"])))
        hooks = tuple(
            serial
            for serial in self.matcher.match(0, event, None)
            if serial != about.serial and self._may_see(self.registry.get(serial), about.owner)
        )
        if hooks:
            text = orjson.dumps({"webhook": about.name, **data})
            self._publish(
                Change(
                    self.outside.next_position(), self.outside.clock.now, 0, event, None, ("json", text), None,
                    0, "", 0, "", 0, hooks, about.name,
                )
            )  # fmt: skip

    def _may_hear(self, listener: Delivery | None, user: str) -> bool:
        return listener is not None and (
            listener.webhook.owner == user or self.outside.reads_all(listener.webhook.owner)
        )

    def _may_see(self, listener: Delivery | None, owner: str) -> bool:
        if listener is None:
            return False
        return listener.webhook.owner == owner or self.outside.is_admin(listener.webhook.owner)

    # -- definitions -------------------------------------------------------------------------------------------

    def find(self, name: bytes, viewer: str) -> Delivery:
        """The webhook of this name, if the user `viewer` may see it. Raises Refusal."""
        delivery = self.registry.named(name.decode("utf-8", "replace"))
        if delivery is None or not self.visible(delivery, viewer):
            raise Refusal(f"no such webhook '{shown(name.decode('utf-8', 'replace'))}'")
        return delivery

    def visible(self, delivery: Delivery, viewer: str) -> bool:
        """Whether a user may see and change a webhook: the owner and administrators may."""
        return delivery.webhook.owner == viewer or self.outside.is_admin(viewer)

    def visible_to(self, viewer: str) -> list[Delivery]:
        """All webhooks that a user may see, by name."""
        everything = self.outside.is_admin(viewer)
        return [delivery for delivery in self.registry if everything or delivery.webhook.owner == viewer]

    def create(self, name: bytes, url: bytes, tokens: list[bytes], owner: str) -> str:
        """Makes a webhook. Returns the secret that SECRET GENERATE made, "" if none. Raises Refusal."""
        text = check_name(name)
        if self.registry.named(text) is not None:
            raise Refusal(f"webhook '{text}' already exists")
        if len(self.registry) >= self.desk.settings.max_webhooks:
            raise Refusal(f"at most {self.desk.settings.max_webhooks} webhooks (webhooks.max_webhooks)")
        most = self.desk.settings.max_user_webhooks
        if most and self.desk.account(owner).webhooks >= most and not self.outside.is_admin(owner):
            raise Refusal(f"at most {most} webhooks of a user (webhooks.max_user_webhooks)")
        now = self.outside.clock.now
        base = replace(
            self.defaults, serial=self.registry.next_serial, name=text, owner=owner, created_at=now, updated_at=now,
            url=check_url(url.decode("utf-8", "replace"), self.limits),
        )  # fmt: skip
        made: Parsed = parse(tokens, base, self.limits, admin=self.outside.is_admin(owner))
        delivery = self._make(made.webhook)
        self.registry.add(delivery)
        self.desk.total.webhooks = len(self.registry)
        self._judge(owner)
        delivery.account.webhooks += 1
        self._note_definition(delivery)
        self._tell("webhook.created", delivery, {})
        return made.generated

    def update(self, delivery: Delivery, tokens: list[bytes], user: str = "default") -> str:
        """Changes what the options name, for the user `user`. Returns a generated secret as `create` does. Raises
        Refusal."""
        admin = self.outside.is_admin(user)
        changed = parse(tokens, delivery.webhook, self.limits, updating=True, admin=admin)
        was_enabled = delivery.webhook.enabled
        self._change(delivery, changed.webhook)
        self._tell("webhook.updated", delivery, {})
        if was_enabled and not changed.webhook.enabled:
            self._tell("webhook.disabled", delivery, {"reason": changed.webhook.disabled_reason})
        return changed.generated

    def delete(self, delivery: Delivery) -> None:
        """What is pending is dropped and counted."""
        self.desk.flush()
        delivery.close()
        self.departed.add(delivery.counters)
        self.registry.remove(delivery)
        self.outside.notes([["hook", delivery.webhook.serial, None]])
        if self.history is not None:
            self.history.forget(delivery.webhook.serial)
        self.desk.total.webhooks = len(self.registry)
        self.desk.leave(delivery.webhook.owner)
        self.on_change()
        self._tell("webhook.deleted", delivery, {})

    def enable(self, delivery: Delivery) -> None:
        if not delivery.webhook.enabled:
            self._change(delivery, replace(delivery.webhook, enabled=True, disabled_reason=""))
            self._tell("webhook.enabled", delivery, {})

    def disable(self, delivery: Delivery) -> None:
        if delivery.webhook.enabled:
            self._tell("webhook.disabled", delivery, {"reason": "by command"})

    def pause(self, delivery: Delivery, paused: bool) -> None:
        """Holds what is pending, or lets it go again."""
        if delivery.webhook.paused != paused:
            self._change(delivery, replace(delivery.webhook, paused=paused))

    def rotate(self, delivery: Delivery, secret: str = "GENERATE", overlap_s: int = DAY_SECONDS) -> str:
        """A new secret; the one before signs beside it for `overlap_s` seconds. Returns the new one if it was
        generated. Raises Refusal."""
        new, generated = read_secret(secret)
        if not new:
            raise Refusal("SECRET: a secret has to be given")
        before, until = delivery.webhook.secret, self.outside.clock.now + overlap_s * 1000
        keeps = bool(before) and overlap_s > 0 and before != new
        changed = replace(
            delivery.webhook, secret=new, old_secret=before if keeps else "", old_secret_until=until if keeps else 0
        )
        self._change(delivery, changed)
        self._tell("webhook.updated", delivery, {})
        return generated

    def _make(self, webhook: Webhook) -> Delivery:
        return Delivery(webhook, self.desk, self._tell)

    def _change(self, delivery: Delivery, webhook: Webhook) -> None:
        delivery.configure(replace(webhook, updated_at=self.outside.clock.now))
        self.registry.changed(delivery)
        self._note_definition(delivery)

    def _note_definition(self, delivery: Delivery) -> None:
        self.desk.flush()
        self.outside.notes([["hook", delivery.webhook.serial, to_plain(delivery.webhook)]])
        self.on_change()

    def review(self) -> None:
        """Counts again what each owner has, and asks what he may: at the start, and when the settings have changed."""
        desk, settings = self.desk, self.desk.settings
        desk.total.webhooks, desk.total.max_pending = len(self.registry), settings.max_pending
        desk.total.memory_events = settings.memory_events
        desk.accounts = {d.webhook.owner: d.account for d in self.registry}
        for owner, account in desk.accounts.items():
            account.webhooks = 0
            self._judge(owner)
        for delivery in self.registry:
            delivery.account.webhooks += 1
            self.desk.wake(delivery)
        self.matcher.acl_changed(desk.accounts)

    def _judge(self, owner: str) -> None:
        account = self.desk.account(owner)
        account.held = not self.outside.is_user(owner)
        account.max_pending = 0 if self.outside.is_admin(owner) else self.desk.settings.max_user_pending

    def acl_changed(self, users: Collection[str]) -> None:
        """These users have come, gone, or have other permissions."""
        owners = self.desk.accounts.keys() & users
        if owners:
            back = {owner for owner in owners if self.desk.account(owner).held and self.outside.is_user(owner)}
            self.matcher.acl_changed(owners)
            for owner in owners:
                self._judge(owner)
            if back:
                for delivery in self.registry:
                    if delivery.webhook.owner in back:
                        self.desk.wake(delivery)

    # -- by hand -----------------------------------------------------------------------------------------------

    def purge(self, delivery: Delivery, dead: bool) -> int:
        """Drops what is pending and not in flight, or the dead letters. Returns how many events."""
        if not dead:
            purged = delivery.purge()
            self.desk.flush()  # the reply says so: the journal has to know it first
            return purged
        positions = list(delivery.dead)
        self._take_letters(delivery, positions)
        return len(positions)

    def replay_dead(self, delivery: Delivery) -> int:
        """Queues the dead letters again, oldest event first, as many as there is room for. Returns how many."""
        return self.requeue(delivery, [letter.change for letter in delivery.dead.values()])

    def replay_events(self, delivery: Delivery, ids: Iterable[str]) -> tuple[int, set[int]]:
        """Queues the dead letters with these event ids again. Returns how many, and the positions of the others, which
        only the journal can know. Raises Refusal for what is no event id of this server."""
        wanted = {self._position(id) for id in ids}
        letters = [delivery.dead[position].change for position in wanted if position in delivery.dead]
        return self.requeue(delivery, letters), wanted - {change.position for change in letters}

    def _position(self, id: str) -> int:
        match = _EVENT_ID.fullmatch(id)
        position = sum(_ALPHABET.index(c) << 5 * i for i, c in enumerate(reversed(match[1]))) if match else 0
        if not match or event_id(self.outside.journal_id, position) != id:
            raise Refusal(f"no event id of this server: '{shown(id)}'")
        return position

    def find_in_journal(
        self, delivery: Delivery, since: int, until: int, positions: frozenset[int] | None = None
    ) -> list[Change]:
        """The changes from `since` to `until` (unix ms) that matched the webhook, or those at `positions`; no more than
        could be queued in memory. Reads the disk: to be called in a thread. Raises Refusal if there is no journal."""
        if self.frames is None:
            raise Refusal("there is no journal to replay from (journal.enabled is off)")
        webhook, most = delivery.webhook, min(delivery.webhook.max_pending, self.desk.settings.memory_events)
        found: list[Change] = []
        for frame in self.frames():
            for values in frame.changes:
                if len(found) >= most:
                    return found
                position, at = values[0], values[1]
                wanted = since <= at <= until if positions is None else position in positions
                if wanted and webhook.serial in values[_HOOKS]:
                    change = revive(values)
                    if conditions_hold(webhook, change):
                        found.append(change)
        return found

    def requeue(self, delivery: Delivery, changes: Iterable[Change]) -> int:
        """Queues changes once more, with their old ids, unless they are pending or of keys that the owner may no longer
        read. Returns how many had room."""
        serial, owner, may_read = delivery.webhook.serial, delivery.webhook.owner, self.outside.may_read
        spill, pending = delivery.queue.spill, {event.change.position for event in delivery.queue.lanes}
        fresh = {
            c.position: c
            for c in sorted(changes, key=lambda c: c.position)
            if not (c.position in pending or c.position in spill)
            and (c.key is None or may_read is None or may_read(owner, c.key))
        }
        chosen = list(fresh.values())[: max(delivery.room(), 0)]
        if chosen:
            self._take_letters(delivery, [c.position for c in chosen if c.position in delivery.dead])
            self.desk.flush()
            self.outside.notes([["queue", serial, [[change, 0] for change in chosen]]])
            for change in chosen:
                delivery.put(change)
            self.desk.wake(delivery)
        return len(chosen)

    def _take_letters(self, delivery: Delivery, positions: list[int]) -> None:
        for position in positions:
            delivery.unbury(position)
        if positions:
            self.desk.flush()
            self.outside.notes([["undead", delivery.webhook.serial, positions]])

    def test(self, delivery: Delivery, done: Callable[[dict[str, Any]], None]) -> None:
        """Sends one event outside of the queue; `done` gets status, http_status, latency_ms, error and event_id."""
        now, webhook = self.outside.clock.now, delivery.webhook
        position = self.outside.next_position()
        text = orjson.dumps({"webhook": webhook.name, "message": "A test event of WEBHOOK.TEST"})
        change = Change(
            position, now, 0, "webhook.test", None, ("json", text), None, 0, "WEBHOOK.TEST", 0, "", 0,
            (webhook.serial,), webhook.name,
        )  # fmt: skip
        parcel = Parcel([Pending(change, None, 0)])
        parcel.attempt = 1

        def answered(outcome: Outcome) -> None:
            delivery.tests -= 1
            done({
                "status": "delivered" if outcome.delivered else "failed",
                "http_status": outcome.status,
                "latency_ms": outcome.latency_ms,
                "error": "" if outcome.delivered else describe(outcome),
                "event_id": event_id(self.outside.journal_id, position),
            })  # fmt: skip

        if not self.desk.may_post(delivery.tests):
            raise Refusal("too many requests are under way, try again later")
        delivery.tests += 1
        self.desk.post(delivery.errand(parcel, now), answered)

    # -- numbers -----------------------------------------------------------------------------------------------

    def samples(self) -> Iterable[WebhookSample]:
        """What a scrape shows."""
        now = self.outside.clock.now
        for delivery in self.registry:
            yield WebhookSample(
                delivery.webhook.name, delivery.counters, len(delivery.queue), delivery.webhook.max_pending,
                delivery.oldest_age_ms(now), delivery.circuit.open, delivery.queue.spill.size, delivery.refill.failures,
            )  # fmt: skip
