"""The webhooks that exist, by name and by serial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Change, Overflow


class Registry:
    """Deliveries by name and serial. The matcher always knows the present definitions."""

    __slots__ = ("_by_name", "_by_serial", "matcher", "next_serial", "rejecting")

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.next_serial = 1  # never given twice, not even after a restart
        self._by_name: dict[str, Delivery] = {}
        self._by_serial: dict[int, Delivery] = {}
        self.rejecting: dict[int, Delivery] = {}  # by serial, those that may refuse a write: OVERFLOW reject

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Delivery]:
        """By name."""
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def named(self, name: str) -> Delivery | None:
        return self._by_name.get(name)

    def get(self, serial: int) -> Delivery | None:
        return self._by_serial.get(serial)

    def distribute(self, changes: Sequence[Change], frame: int) -> None:
        """Gives changes to the webhooks that the matcher found for them. `frame`: see Delivery.accept."""
        known = self._by_serial
        start, size = 0, len(changes)
        while start < size:  # together what goes to the same ones
            hooks = changes[start].hooks
            end = start + 1
            while end < size and changes[end].hooks == hooks:
                end += 1
            run = changes[start:end]
            for serial in hooks:
                delivery = known.get(serial)
                if delivery is not None:
                    delivery.accept(run, frame)
            start = end

    def add(self, delivery: Delivery) -> None:
        webhook = delivery.webhook
        self._by_name[webhook.name] = self._by_serial[webhook.serial] = delivery
        self.next_serial = max(self.next_serial, webhook.serial + 1)
        self.changed(delivery)

    def remove(self, delivery: Delivery) -> None:
        webhook = delivery.webhook
        del self._by_name[webhook.name], self._by_serial[webhook.serial]
        self.rejecting.pop(webhook.serial, None)
        self.matcher.discard(webhook.serial)

    def changed(self, delivery: Delivery) -> None:
        """Its definition is another one."""
        webhook = delivery.webhook
        self.matcher.put(webhook)
        if webhook.enabled and webhook.overflow is Overflow.REJECT:
            self.rejecting[webhook.serial] = delivery
        else:
            self.rejecting.pop(webhook.serial, None)
