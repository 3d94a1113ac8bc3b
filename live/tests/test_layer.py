from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from channels.layers import get_channel_layer

from live.counters import counters
from live.frames import encode
from live.groups import user_group
from live.layer import ForeignChannel, LiveChannelLayer, NotAttached
from live.socket import Socket
from live.tests.conftest import Valkey
from live.tests.web import BTC, ETH, signal_frame


@pytest.fixture
def layer(valkey: Valkey) -> LiveChannelLayer:
    return cast("LiveChannelLayer", get_channel_layer())


async def attached(layer: LiveChannelLayer, heard: list[Any]) -> str:
    async def send(message: Any) -> None:
        heard.append(message["text"])

    socket = Socket(send)
    socket.release()
    channel = await layer.new_channel()
    layer.attach(channel, socket)
    return channel


async def test_a_frame_reaches_the_members_of_its_group_and_nobody_else(layer: LiveChannelLayer) -> None:
    alice: list[Any] = []
    bob: list[Any] = []
    await layer.group_add(BTC, await attached(layer, alice))
    await layer.group_add(ETH, await attached(layer, bob))
    frame = encode(BTC, signal_frame(closed_at=1))

    assert layer.deliver(BTC, frame) == 1
    assert layer.deliver("notifications_rsi_NOBODY", frame) == 0

    assert alice == [frame.message["text"]]
    assert bob == []


async def test_joining_twice_is_joining_once_and_leaving_is_idempotent(layer: LiveChannelLayer) -> None:
    heard: list[Any] = []
    channel = await attached(layer, heard)

    for _ in range(2):
        await layer.group_add(BTC, channel)
    assert layer.deliver(BTC, encode(BTC, signal_frame(closed_at=1))) == 1
    for _ in range(2):
        await layer.group_discard(BTC, channel)

    assert layer.deliver(BTC, encode(BTC, signal_frame(closed_at=2))) == 0
    assert layer.groups_of(channel) == frozenset()
    assert len(heard) == 1


async def test_detaching_ends_every_membership_once(layer: LiveChannelLayer) -> None:
    before = counters.sockets
    channel = await attached(layer, [])
    other = await attached(layer, [])
    for group in (BTC, ETH, user_group(1)):
        await layer.group_add(group, channel)
        await layer.group_add(group, other)

    layer.detach(channel)
    layer.detach(channel)

    assert layer.deliver(BTC, encode(BTC, signal_frame(closed_at=1))) == 1
    assert layer.groups_of(other) == {BTC, ETH, user_group(1)}
    assert counters.sockets == before + 1
    layer.detach(other)
    assert counters.sockets == before


async def test_a_consumer_without_a_socket_is_told_so(layer: LiveChannelLayer) -> None:
    channel = await layer.new_channel()

    with pytest.raises(NotAttached, match="attach"):
        await layer.group_add(BTC, channel)


async def test_joining_and_delivering_need_no_redis(layer: LiveChannelLayer, valkey: Valkey) -> None:
    valkey.kill()
    heard: list[Any] = []

    await layer.group_add(user_group(1), await attached(layer, heard))
    layer.deliver(user_group(1), encode(user_group(1), signal_frame(closed_at=1)))

    assert len(heard) == 1


async def test_all_other_groups_are_channels_redis_own(layer: LiveChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("backtest_7", channel)
    receiving = asyncio.create_task(layer.receive(channel))

    async with asyncio.timeout(10):
        while not receiving.done():  # the subscription is in Redis a moment after group_add
            await layer.group_send("backtest_7", {"type": "progress", "percent": 40})
            await asyncio.wait({receiving}, timeout=0.05)

    assert await receiving == {"type": "progress", "percent": 40}
    await layer.group_discard("backtest_7", channel)
    await layer.flush()


async def test_a_message_to_a_consumers_own_channel_arrives_here_and_is_refused_elsewhere(
    layer: LiveChannelLayer,
) -> None:
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))

    await layer.send(channel, {"type": "hi"})

    assert await receiving == {"type": "hi"}
    with pytest.raises(ForeignChannel):
        await layer.send("asgispecific.0123456789abcdef", {"type": "hi"})


def test_each_event_loop_has_its_own_members(layer: LiveChannelLayer) -> None:
    heard: list[Any] = []

    async def join() -> int:
        await layer.group_add(BTC, await attached(layer, heard))
        return layer.deliver(BTC, encode(BTC, signal_frame(closed_at=1)))

    async def deliver() -> int:
        return layer.deliver(BTC, encode(BTC, signal_frame(closed_at=2)))

    assert asyncio.run(join()) == 1
    assert asyncio.run(deliver()) == 0
    assert len(heard) == 1
