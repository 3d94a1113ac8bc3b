"""The candle store: the last candles of every ticker and timeframe in use, as packed arrays in the live Redis."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import cast

import numpy as np
from redis import Redis, RedisError

from engine.candles import STORE_SIZE, Candles
from market.candles import Block, Key, load_newest
from market.connection import live_store

logger = logging.getLogger(__name__)

ROW_BYTES = 48
STORE_BYTES = STORE_SIZE * ROW_BYTES
# Keys a single pipeline or MGET carries: a reply of at most 5 MB.
CHUNK = 100

# KEYS[1]: the packed candles. ARGV[1]: open_time of the candle that must be there already (0: any). ARGV[2]: packed
# rows, oldest first. Appends those later than the last one; 0 when the key is missing, behind or no array of candles, and
# nothing is done.
# The whole value is written anew: APPEND would make Redis reserve twice its size for good.
_APPEND = """
local held = redis.call('GET', KEYS[1])
if not held or #held < 48 or #held % 48 ~= 0 then return 0 end
local last = struct.unpack('<d', held, #held - 47)
if not (last >= tonumber(ARGV[1])) then return 0 end
local rows = ARGV[2]
local first = 1
while first < #rows and struct.unpack('<d', rows, first) <= last do first = first + 48 end
if first < #rows then redis.call('SET', KEYS[1], string.sub(held .. string.sub(rows, first), -tonumber(ARGV[3]))) end
return 1
"""

# KEYS[1] goes if it still holds ARGV[1].
_DISCARD = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class CandleStore:
    """At most the last STORE_SIZE candles per (ticker, timeframe): little-endian float64 (n, 6) arrays, newest last.

    Postgres is the truth. What is missing here is loaded from there, by whoever notices.
    """

    def __init__(self, client: Redis | None = None) -> None:
        self._redis = live_store() if client is None else client
        self._append = self._redis.register_script(_APPEND)
        self._discard = self._redis.register_script(_DISCARD)

    def load(self, ticker_ids: Sequence[int], timeframe: str) -> dict[int, Candles]:
        """The candles of many tickers, by one MGET per 100; a ticker without any has an empty one.

        A store that is empty, unreachable or holds no candles under a key costs time, not data: then Postgres answers, and
        what it says is put into the store.
        """
        try:
            packed = self._read(ticker_ids, timeframe)
        except RedisError as error:
            logger.warning("the candle store is unreachable (%s): reading Postgres", type(error).__name__)
            return load_newest(ticker_ids, timeframe)
        missing = [ticker_id for ticker_id in ticker_ids if ticker_id not in packed]
        loaded = self._heal(missing, timeframe) if missing else {}
        return {
            ticker_id: loaded[ticker_id]
            if ticker_id in loaded
            else Candles.from_packed(packed[ticker_id][-STORE_BYTES:], timeframe)
            for ticker_id in ticker_ids
        }

    def append(self, blocks: Sequence[Block]) -> list[Key]:
        """Adds candles behind those already held; what is not later than the last held is left out.

        Returns the keys that could not take them, because they are missing or have missed a candle before: `refill`
        them. Raises redis.RedisError; doing it again is harmless.
        """
        behind: list[Key] = []
        for start in range(0, len(blocks), CHUNK):
            chunk = blocks[start : start + CHUNK]
            with self._redis.pipeline(transaction=False) as pipe:
                for block in chunk:
                    arguments: list[str | bytes | int] = [repr(float(block.previous)), _pack(block), STORE_BYTES]
                    self._append(keys=[_key(*block.key)], args=arguments, client=pipe)
                done = pipe.execute()
            behind += [block.key for block, is_done in zip(chunk, done, strict=True) if not is_done]
        return behind

    def replace(self, blocks: Sequence[Block]) -> None:
        """Makes each block's rows (the last STORE_SIZE of them) all that its key holds. Raises redis.RedisError."""
        for start in range(0, len(blocks), CHUNK):
            with self._redis.pipeline(transaction=False) as pipe:
                for block in blocks[start : start + CHUNK]:
                    pipe.set(_key(*block.key), _pack(block))
                pipe.execute()

    def refill(self, keys: Collection[Key]) -> None:
        """Loads the keys from Postgres anew. Raises redis.RedisError and django.db.DatabaseError."""
        for timeframe in {timeframe for _, timeframe in keys}:
            ticker_ids = [ticker_id for ticker_id, wanted in keys if wanted == timeframe]
            for start in range(0, len(ticker_ids), CHUNK):
                loaded = load_newest(ticker_ids[start : start + CHUNK], timeframe)
                self.replace(
                    [Block(ticker_id, timeframe, held.rows) for ticker_id, held in loaded.items() if len(held)]
                )

    def last_open_times(self, keys: Sequence[Key]) -> dict[Key, float]:
        """Opening instant (ms since 1970 UTC) of the newest candle of each key that is there. Raises redis.RedisError."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.getrange(_key(*key), -ROW_BYTES, -1)
            tails = pipe.execute()
        return {key: float(np.frombuffer(tail, "<f8")[0]) for key, tail in zip(keys, tails, strict=True) if tail}

    def _read(self, ticker_ids: Sequence[int], timeframe: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for start in range(0, len(ticker_ids), CHUNK):
            chunk = ticker_ids[start : start + CHUNK]
            values = cast("list[bytes | None]", self._redis.mget([_key(ticker_id, timeframe) for ticker_id in chunk]))
            for ticker_id, value in zip(chunk, values, strict=True):
                if value and _is_sound(value):
                    found[ticker_id] = value
                elif value:
                    logger.error("the candle store holds no candles under %s: discarded", _key(ticker_id, timeframe))
                    self._discard(keys=[_key(ticker_id, timeframe)], args=[value])
        return found

    def _heal(self, ticker_ids: Sequence[int], timeframe: str) -> dict[int, Candles]:
        loaded = load_newest(ticker_ids, timeframe)
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for ticker_id, candles in loaded.items():
                    if len(candles):
                        # Never over what the heartbeat has put there meanwhile: that is newer.
                        pipe.set(_key(ticker_id, timeframe), _pack(Block(ticker_id, timeframe, candles.rows)), nx=True)
                pipe.execute()
        except RedisError as error:
            logger.warning("the candle store takes nothing back (%s)", type(error).__name__)
        return loaded


def _key(ticker_id: int, timeframe: str) -> str:
    return f"candles:{ticker_id}:{timeframe}"


def _is_sound(packed: bytes) -> bool:
    """Whether these bytes are an array of candles: finite, each later than the one before it. About 10 us."""
    if len(packed) % ROW_BYTES:
        return False
    rows = np.frombuffer(packed, dtype="<f8").reshape(-1, 6)
    times = rows[:, 0]
    return bool(np.isfinite(rows.sum()) and (times[1:] > times[:-1]).all())


def _pack(block: Block) -> bytes:
    return np.ascontiguousarray(block.rows[-STORE_SIZE:], dtype="<f8").tobytes()
