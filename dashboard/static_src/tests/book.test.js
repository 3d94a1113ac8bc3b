import assert from "node:assert/strict";
import { test } from "node:test";

import { Book } from "../model/book.js";
import { MINUTE, NOON, configuration, frame, reply } from "./given.js";

test("a newer verdict replaces the one that was shown", () => {
  const book = new Book(reply());

  assert.equal(book.apply(frame()), "new");

  const cell = book.cell(1, "BTCUSDT");
  assert.equal(cell.signal, "BUY");
  assert.equal(cell.calledAt, NOON + 2 * MINUTE);
  assert.equal(book.rows.get("BTCUSDT").price, 63_900);
});

test("the same verdict twice changes nothing the second time", () => {
  const book = new Book(reply());
  book.apply(frame());
  const calls = book.calls.length;

  assert.equal(book.apply(frame({ signal: "SELL" })), "known");

  assert.equal(book.cell(1, "BTCUSDT").signal, "BUY");
  assert.equal(book.calls.length, calls);
});

test("an older verdict is filed as history and does not hide the newer one", () => {
  const book = new Book(reply());
  book.apply(frame({ closed_at: NOON + 6 * MINUTE, signal: "DO NOTHING", is_call: false }));

  const kind = book.apply(frame({ closed_at: NOON + 4 * MINUTE, signal: "SELL" }));

  assert.equal(kind, "history");
  assert.equal(book.cell(1, "BTCUSDT").signal, "DO NOTHING");
  assert.equal(book.cell(1, "BTCUSDT").calledSignal, "SELL");
  assert.deepEqual(
    book.calls.map((call) => call.closed_at),
    [NOON + 4 * MINUTE, NOON],
  );
  assert.equal(book.apply(frame({ closed_at: NOON + 4 * MINUTE, signal: "SELL" })), "known");
});

test("frames in any order, some doubled, end in the same book", () => {
  const frames = [2, 4, 6, 8, 10].map((minutes, index) =>
    frame({ closed_at: NOON + minutes * MINUTE, signal: index % 2 ? "SELL" : "BUY" }),
  );
  const straight = new Book(reply());
  for (const one of frames) straight.apply(one);
  const orders = [[4, 3, 2, 1, 0], [2, 2, 0, 4, 1, 3, 4], [1, 0, 3, 2, 4, 0]];

  for (const order of orders) {
    const shuffled = new Book(reply());
    for (const index of order) shuffled.apply(frames[index]);

    const { seen: seenStraight, ...expected } = straight.cell(1, "BTCUSDT");
    const { seen, ...cell } = shuffled.cell(1, "BTCUSDT");
    assert.deepEqual(cell, expected);
    assert.deepEqual(seen, seenStraight);
    assert.deepEqual(shuffled.calls, straight.calls);
  }
});

test("a call that the first answer had is not shown twice when it is replayed", () => {
  const book = new Book(reply());

  const kind = book.apply(frame({ configuration: 2, closed_at: NOON, signal: "SELL", price: 64_000 }));

  assert.equal(kind, "known");
  assert.equal(book.calls.length, 1);
});

test("calls stand newest first and at most two hundred of them", () => {
  const book = new Book(reply());

  for (let index = 1; index <= 300; index += 1) book.apply(frame({ closed_at: NOON + index * MINUTE }));

  assert.equal(book.calls.length, 200);
  assert.equal(book.calls[0].closed_at, NOON + 300 * MINUTE);
  assert.equal(book.calls[199].closed_at, NOON + 101 * MINUTE);
});

test("frames of pairs that the page does not show are foreign", () => {
  const book = new Book(reply());

  assert.equal(book.apply(frame({ ticker: "XRPUSDT" })), "foreign");
  assert.equal(book.apply(frame({ configuration: 99 })), "foreign");
  assert.equal(book.calls.length, 1);
});

test("a configuration runs on every ticker of the page unless it names its own", () => {
  const own = { ...configuration(3, "rsi", "RSI"), is_own: true, tickers: [12] };
  const book = new Book(reply({ configurations: [configuration(1, "rsi", "RSI"), own], cells: [] }));

  assert.equal(book.runsOn(1, "BTCUSDT"), true);
  assert.equal(book.runsOn(3, "ETHUSDT"), true);
  assert.equal(book.runsOn(3, "BTCUSDT"), false);
  assert.deepEqual([...book.placesOf(3)], ["ETHUSDT"]);
  assert.equal(book.placesOf(1), undefined);
});

test("a chart opens with the algorithm that called last", () => {
  const configurations = [configuration(1, "adx", "ADX"), configuration(2, "rsi", "RSI"), configuration(3, "macd", "MACD")];
  const called = (id, at) => [id, 11, "DO NOTHING", NOON, at && "BUY", at, 1, 1, ""];
  const book = new Book(reply({ configurations, cells: [called(1, NOON - MINUTE), called(2, NOON), called(3, null)] }));

  assert.equal(book.lastCalled("BTCUSDT").id, 2);
  assert.equal(book.lastCalled("ETHUSDT").id, 1);
});

test("a row counts its BUY and SELL and knows its newest call", () => {
  const book = new Book(reply());
  book.apply(frame());

  const row = book.rows.get("BTCUSDT");

  assert.deepEqual([row.buys, row.sells, row.calledAt], [1, 1, NOON + 2 * MINUTE]);
});

test("a ticker's first verdict appears in a book that had none", () => {
  const book = new Book(reply({ cells: [], calls: [] }));
  assert.ok(book.isBlank);

  assert.equal(book.apply(frame({ ticker: "币安人生USDT" })), "new");

  assert.ok(!book.isBlank);
  assert.equal(book.cell(1, "币安人生USDT").signal, "BUY");
});
