import assert from "node:assert/strict";
import { test } from "node:test";

import { delay } from "../model/backoff.js";
import { Connection } from "../model/connection.js";
import { NOON } from "./given.js";

/** A browser whose clock, chance and sockets the test holds in its hands. */
class Surroundings {
  at = NOON;
  timers = new Map();
  pulses = new Map();
  sockets = [];
  online = true;
  #next = 1;

  constructor() {
    const around = this;
    this.WebSocket = class {
      readyState = 1;
      sent = [];
      constructor(url) {
        this.url = url;
        around.sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close() {
        this.readyState = 3;
      }
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }
  setTimeout = (act, wait) => (this.timers.set(this.#next, { act, wait }), this.#next++);
  clearTimeout = (id) => this.timers.delete(id);
  setInterval = (act) => (this.pulses.set(this.#next, act), this.#next++);
  clearInterval = (id) => this.pulses.delete(id);
  now = () => this.at;
  random = () => 1;
  isOnline = () => this.online;

  hear(frame) {
    this.socket.onmessage({ data: JSON.stringify({ v: 1, ...frame }) });
  }
  drop(code = 1006) {
    this.socket.onclose({ code });
  }
  runTimer() {
    const [[id, { act }]] = this.timers;
    this.timers.delete(id);
    act();
  }
}

function connected(since = NOON) {
  const around = new Surroundings();
  const frames = [];
  const states = [];
  const connection = new Connection({
    url: "ws://here/ws/notifications/",
    since,
    onFrame: (frame) => frames.push(frame),
    onState: (state) => states.push(state),
    surroundings: around,
  });
  connection.start();
  around.hear({ type: "hello", at: NOON });
  return { around, connection, frames, states, status: () => connection.state.status };
}

test("the wait doubles up to a minute, and half of it is chance", () => {
  assert.deepEqual([0, 1, 2, 3, 6, 50].map((attempt) => delay(attempt, () => 1)), [1000, 2000, 4000, 8000, 60_000, 60_000]);
  assert.deepEqual([0, 1, 50].map((attempt) => delay(attempt, () => 0)), [500, 1000, 30_000]);
});

test("it is live once the server has said hello, and not before", () => {
  const { around, status } = connected();
  assert.equal(status(), "live");

  around.drop();
  around.runTimer();
  assert.equal(status(), "reconnecting");

  around.hear({ type: "hello", at: NOON });
  assert.equal(status(), "live");
});

test("it comes back with the slot of the last central sweep it saw closed", () => {
  const { around } = connected();
  around.hear({ type: "sweep_closed", feed: "central", slot: NOON + 120_000 });
  around.hear({ type: "sweep_closed", feed: "premium:1:2", slot: NOON + 999_000 });
  around.hear({ type: "sweep_closed", feed: "central", slot: NOON });

  around.drop();
  around.runTimer();

  assert.equal(around.socket.url, `ws://here/ws/notifications/?since=${NOON + 120_000}`);
});

test("without a known sweep it asks for no replay", () => {
  assert.equal(connected(null).around.sockets[0].url, "ws://here/ws/notifications/");
});

test("after three failed tries it says offline since the first loss, and goes on trying", () => {
  const { around, states, status } = connected();

  for (let attempt = 0; attempt < 4; attempt += 1) {
    around.drop();
    around.at += 5_000;
    around.runTimer();
  }
  around.drop();

  assert.equal(status(), "offline");
  assert.equal(states.at(-1).lostAt, NOON);
  assert.equal(states.at(-1).retryAt, around.at + 16_000);
  assert.equal(around.timers.size, 1);
});

test("a machine without a network is offline at once and back when the network is", () => {
  const { around, connection, status } = connected();
  around.online = false;
  connection.networkLost();
  assert.equal(status(), "offline");

  around.online = true;
  connection.retryNow();
  around.hear({ type: "hello", at: NOON });

  assert.equal(status(), "live");
  assert.equal(around.timers.size, 0);
});

test("a session that ended is not tried again", () => {
  for (const [code, word] of [[4401, "logged-out"], [4403, "ended"]]) {
    const { around, connection, status } = connected();

    around.drop(code);
    connection.retryNow();
    connection.networkLost();

    assert.equal(status(), word);
    assert.equal(around.sockets.length, 1);
    assert.equal(around.timers.size, 0);
  }
});

test("a slow reader who was sent away comes back", () => {
  const { around, status } = connected();

  around.drop(4008);

  assert.equal(status(), "reconnecting");
  assert.equal(around.timers.size, 1);
});

test("silence is taken for a dead line, although the socket is open", () => {
  const { around, status } = connected();
  const [pulse] = around.pulses.values();

  pulse();
  assert.deepEqual(around.socket.sent, [{ type: "ping" }]);
  around.at += 46_000;
  pulse();

  assert.equal(status(), "reconnecting");
});

test("what an abandoned socket still says is not heard", () => {
  const { around, frames } = connected();
  const old = around.socket;
  const hearOld = old.onmessage;
  around.drop();
  around.runTimer();

  hearOld({ data: JSON.stringify({ v: 1, type: "signal" }) });

  assert.deepEqual(frames.map((frame) => frame.type), ["hello"]);
});

test("frames of another version and texts that are no JSON are left out", () => {
  const { around, frames } = connected();

  around.hear({ type: "signal", v: 2 });
  around.socket.onmessage({ data: "{" });

  assert.deepEqual(frames.map((frame) => frame.type), ["hello"]);
});

test("a renewed line is another socket that asks for nothing, and the old one is not heard any more", () => {
  const { around, connection, frames, status } = connected();
  const old = around.socket;

  connection.renew();
  assert.equal(old.readyState, 3);
  assert.equal(old.onmessage, null);
  assert.equal(status(), "live"); // nothing is wrong
  around.runTimer();

  assert.equal(around.sockets.length, 2);
  assert.equal(around.socket.url, "ws://here/ws/notifications/");
  around.hear({ type: "hello", at: NOON });
  assert.equal(status(), "live");
  assert.deepEqual(frames.map((frame) => frame.type), ["hello", "hello"]);
});

test("asked twice it renews once, and never after a session that ended", () => {
  const { around, connection } = connected();
  connection.renew();
  connection.renew();
  assert.equal(around.timers.size, 1);

  around.runTimer();
  around.drop(4403);
  connection.renew();
  assert.equal(around.timers.size, 0);
});

test("after fetching its data the page is as far as their sweep", () => {
  const { around, connection } = connected();
  connection.renew();
  around.runTimer();

  connection.caughtUp(NOON + 120_000);
  connection.caughtUp(NOON);
  around.drop();
  around.runTimer();

  assert.equal(around.socket.url, `ws://here/ws/notifications/?since=${NOON + 120_000}`);
});

test("one page too many says so and goes on trying", () => {
  const { around, status } = connected();

  around.drop(4429);

  assert.equal(status(), "crowded");
  assert.equal(around.timers.size, 1);
});
