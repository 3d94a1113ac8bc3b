import assert from "node:assert/strict";
import { test } from "node:test";

import { age, ageInWords, countdown, price, stepDecimals, utc, value } from "../model/format.js";
import { callMarks, lengthOf } from "../model/marks.js";
import { MINUTE, NOON } from "./given.js";

test("an age is told in its largest unit and is never negative", () => {
  assert.deepEqual([-5, 59_999, 12 * MINUTE, 3 * 60 * MINUTE, 49 * 60 * MINUTE].map(age), ["0s", "59s", "12m", "3h", "2d"]);
  assert.equal(ageInWords(MINUTE), "1 minute");
  assert.equal(ageInWords(2 * MINUTE), "2 minutes");
});

test("time left is shown in minutes and seconds and stops at zero", () => {
  assert.deepEqual([61_000, 59_001, 0, -9].map(countdown), ["1:01", "1:00", "0:00", "0:00"]);
});

test("prices keep the decimals of their step or of their size", () => {
  assert.equal(price(64_123.4, 0.01), "64,123.40");
  assert.equal(price(0.00001234, 1e-8), "0.00001234");
  assert.equal(price(64_123.456), "64,123.46");
  assert.equal(price(null), "");
  assert.deepEqual([1, 0.1, 0.001, 1e-8].map(stepDecimals), [0, 1, 3, 8]);
});

test("a value has at most six significant digits", () => {
  assert.equal(value(43.2345678), "43.2346");
  assert.equal(value(null), "–");
});

test("an instant for tooltips names its zone", () => {
  assert.equal(utc(NOON), "2026-11-20 12:00:00 UTC");
});

test("a call is marked on the candle whose close made it", () => {
  const series = { timeframe: "2m", candles: [[NOON - 4 * MINUTE], [NOON - 2 * MINUTE]] };
  const calls = [
    { closed_at: NOON, signal: "SELL" },
    { closed_at: NOON - 2 * MINUTE, signal: "BUY" },
    { closed_at: NOON - 60 * MINUTE, signal: "BUY" },
  ];

  const marks = callMarks(calls, series, { BUY: "green", SELL: "red" });

  assert.deepEqual(marks, [
    { time: (NOON - 4 * MINUTE) / 1000, position: "belowBar", shape: "arrowUp", color: "green", text: "BUY" },
    { time: (NOON - 2 * MINUTE) / 1000, position: "aboveBar", shape: "arrowDown", color: "red", text: "SELL" },
  ]);
  assert.deepEqual(["1m", "2m", "4h"].map(lengthOf), [MINUTE, 2 * MINUTE, 240 * MINUTE]);
});
