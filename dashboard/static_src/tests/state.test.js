import assert from "node:assert/strict";
import { test } from "node:test";

import { isStale, nextSlot, noticeOf, statusOf } from "../model/state.js";
import { MINUTE, NOON } from "./given.js";

const LIVE = { status: "live", lostAt: null, retryAt: null };
const feed = (changes = {}) => ({
  sweep: { slot: NOON },
  period: 2 * MINUTE,
  nextSlot: NOON + 2 * MINUTE,
  market: { is_connected: true },
  ...changes,
});

test("signals are stale once two sweeps are overdue", () => {
  assert.ok(!isStale(feed(), NOON + 4 * MINUTE));
  assert.ok(isStale(feed(), NOON + 4 * MINUTE + 1));
  assert.ok(!isStale(feed({ sweep: null }), NOON + 99 * MINUTE));
});

test("a live line with old signals is stale, a lost line is what it is", () => {
  const later = NOON + 10 * MINUTE;

  assert.equal(statusOf(LIVE, feed(), later), "stale");
  assert.equal(statusOf({ ...LIVE, status: "reconnecting" }, feed(), later), "reconnecting");
});

test("the next slot moves on when the promised one has passed", () => {
  assert.equal(nextSlot(feed(), NOON + MINUTE), NOON + 2 * MINUTE);
  assert.equal(nextSlot(feed(), NOON + 2 * MINUTE), NOON + 4 * MINUTE);
  assert.equal(nextSlot(feed(), NOON + 11 * MINUTE), NOON + 12 * MINUTE);
});

test("there is no notice while all is well, and one for each trouble", () => {
  const lost = { lostAt: NOON, retryAt: NOON + 61_000 };
  const text = (connection, changes, at = NOON + MINUTE) => noticeOf(connection, feed(changes), at)?.text ?? null;

  assert.equal(text(LIVE), null);
  assert.match(text({ ...lost, status: "offline" }, {}), /No connection since/);
  assert.match(text({ ...lost, status: "crowded" }, {}), /More pages are open/);
  assert.match(text({ ...lost, status: "reconnecting" }), /Reconnecting/);
  assert.match(text(LIVE, {}, NOON + 10 * MINUTE), /old: .*, and one is due every 2m/);
  assert.match(text(LIVE, { market: { is_connected: false } }), /Market data is interrupted/);
  assert.match(text({ ...LIVE, status: "ended" }), /access/);
});

test("the sentence that is read out stands still, and the clock moves beside it", () => {
  const lost = { lostAt: NOON, retryAt: NOON + 61_000 };
  for (const [connection, moving] of [
    [{ ...lost, status: "offline" }, ["Trying again in 1:01", "Trying again in 1:00"]],
    [{ ...lost, status: "crowded" }, ["Trying again in 1:01", "Trying again in 1:00"]],
  ]) {
    const notices = [NOON, NOON + 1_000].map((at) => noticeOf(connection, feed(), at));
    assert.equal(notices[0].text, notices[1].text);
    assert.deepEqual(notices.map((notice) => notice.moving), moving);
  }

  const stale = [10, 11].map((minutes) => noticeOf(LIVE, feed(), NOON + minutes * MINUTE));
  assert.equal(stale[0].text, stale[1].text);
  assert.deepEqual(stale.map((notice) => notice.moving), ["10m ago", "11m ago"]);
});
