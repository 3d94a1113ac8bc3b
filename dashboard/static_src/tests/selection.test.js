import assert from "node:assert/strict";
import { test } from "node:test";

import { Book } from "../model/book.js";
import { NO_OPINION, columnsOf, rowsOf, stateOf } from "../model/selection.js";
import { frame, reply } from "./given.js";

const ALL = { ticker: "", configuration: null, signal: "", sort: "ticker" };
const symbols = (rows) => rows.map((row) => row.symbol);

test("without filters every ticker is shown by name", () => {
  assert.deepEqual(symbols(rowsOf(new Book(reply()), ALL)), ["BTCUSDT", "ETHUSDT", "币安人生USDT"]);
});

test("a ticker is found by any part of its name in any case", () => {
  assert.deepEqual(symbols(rowsOf(new Book(reply()), { ...ALL, ticker: " eth " })), ["ETHUSDT"]);
  assert.deepEqual(symbols(rowsOf(new Book(reply()), { ...ALL, ticker: "人生" })), ["币安人生USDT"]);
});

test("a signal keeps the rows that show it in a shown column", () => {
  const book = new Book(reply());

  assert.deepEqual(symbols(rowsOf(book, { ...ALL, signal: "SELL" })), ["BTCUSDT"]);
  assert.deepEqual(symbols(rowsOf(book, { ...ALL, signal: "SELL", configuration: 1 })), []);
  assert.deepEqual(symbols(rowsOf(book, { ...ALL, signal: NO_OPINION })), ["ETHUSDT"]);
});

test("one algorithm leaves one column", () => {
  assert.deepEqual(columnsOf(new Book(reply()), { ...ALL, configuration: 2 }), [1]);
});

test("most BUY first, then by name", () => {
  const book = new Book(reply());
  book.apply(frame({ ticker: "币安人生USDT" }));

  assert.equal(symbols(rowsOf(book, { ...ALL, sort: "buys" }))[0], "币安人生USDT");
  assert.equal(symbols(rowsOf(book, { ...ALL, sort: "sells" }))[0], "BTCUSDT");
  assert.equal(symbols(rowsOf(book, { ...ALL, sort: "newest" }))[0], "币安人生USDT");
});

test("a verdict with a reason is no opinion, whatever its signal", () => {
  assert.equal(stateOf({ signal: "DO NOTHING", reason: "gap" }), NO_OPINION);
  assert.equal(stateOf(undefined), "");
});
