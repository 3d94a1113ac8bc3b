import assert from "node:assert/strict";
import { test } from "node:test";

import { nextDirection, order } from "../model/sorting.js";

test("numbers are sorted as numbers, the largest first or last", () => {
  assert.deepEqual(order(["9", "-0.5", "100", "1e-05"], true), [2, 0, 3, 1]);
  assert.deepEqual(order(["9", "-0.5", "100", "1e-05"], false), [1, 3, 0, 2]);
});

test("rows with too little to say come last either way", () => {
  assert.deepEqual(order([undefined, "1", undefined, "2"], true), [3, 1, 0, 2]);
  assert.deepEqual(order([undefined, "1", undefined, "2"], false), [1, 3, 0, 2]);
});

test("equal rows keep their order", () => {
  assert.deepEqual(order(["1", "1", "1"], true), [0, 1, 2]);
});

test("names are sorted as people read them", () => {
  assert.deepEqual(order(["v10", "v9", "Álgo", "algo 2"], false), [2, 3, 1, 0]);
});

test("a table without rows has an order, too", () => {
  assert.deepEqual(order([], true), []);
});

test("a column first shows its largest numbers, a name its first letters, and a second choice turns them round", () => {
  assert.equal(nextDirection(null, "mean"), "descending");
  assert.equal(nextDirection(null, "name"), "ascending");
  assert.equal(nextDirection("descending", "mean"), "ascending");
  assert.equal(nextDirection("ascending", "mean"), "descending");
});
