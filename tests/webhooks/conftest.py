"""Both ends of the wire, for the tests of what is between them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from receiver import Receiver

from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Tls
from ferrite_hooks.webhooks.send import Sender


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    made = Sender(Rules(), Tls())
    yield made
    await made.close()
