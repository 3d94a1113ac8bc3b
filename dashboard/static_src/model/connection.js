/** The WebSocket that never gives up: reconnects, catches up by `since`, notices silence, and says how it is. */

import { delay } from "./backoff.js";

const WIRE_VERSION = 1;
const UNAUTHENTICATED = 4401;
const RIGHTS_ENDED = 4403;
const TOO_MANY = 4429;
const PING_EVERY = 20_000;
// The server answers pings: longer silence means that the line is dead, whatever the socket says.
const SILENCE = 45_000;
// After so many failed tries in a row the page says "offline" and no more "reconnecting".
const TRIES_BEFORE_OFFLINE = 3;

/** @typedef {{ status: "connecting" | "live" | "reconnecting" | "offline" | "crowded" | "logged-out" | "ended",
 *              lostAt: number | null, retryAt: number | null }} ConnectionState */

export class Connection {
  #socket = null;
  #attempt = 0;
  #retry = null;
  #pulse = null;
  #heardAt = 0;

  /**
   * @param url the socket's address without a query
   * @param onFrame called with each frame whose version is known
   * @param onState called with each new ConnectionState
   * @param since slot of the last closed sweep that the page has seen (ms), or null
   * @param surroundings what the browser gives; tests give their own
   */
  constructor({ url, onFrame, onState, since = null, surroundings = browser() }) {
    this.url = url;
    this.onFrame = onFrame;
    this.onState = onState;
    this.since = since;
    this.around = surroundings;
    this.state = { status: "connecting", lostAt: null, retryAt: null };
  }

  /** Connects, and from then on stays connected until `stop()` or until the server says that it must not. */
  start() {
    this.#open();
  }

  stop() {
    this.#forget();
    this.around.clearTimeout(this.#retry);
  }

  /** Opens another socket in place of this one, because what the user may hear has changed.
   *
   * Nothing is asked for again: once the new socket has said hello, the page fetches its data anew. The short wait lets
   * the server notice that the old socket is gone, and keeps a user's pages from coming all at once.
   */
  renew() {
    if (this.#isOver()) return;
    this.#forget();
    this.around.clearTimeout(this.#retry);
    this.since = null;
    this.#retry = this.around.setTimeout(() => this.#open(), delay(0, this.around.random));
  }

  /** The page has fetched what was written up to this slot. */
  caughtUp(slot) {
    this.since = Math.max(this.since ?? 0, slot);
  }

  /** Tries at once, e.g. because the user asked or the network is back. Does nothing while connected. */
  retryNow() {
    if (this.#socket || this.#isOver()) return;
    this.around.clearTimeout(this.#retry);
    this.#open();
  }

  /** The network is gone: no use waiting for the socket to notice. */
  networkLost() {
    if (!this.#isOver()) this.#lost();
  }

  /** The page is seen again: after a sleep the socket may be dead without knowing. */
  pageShown() {
    if (!this.#socket) this.retryNow();
    else if (this.around.now() - this.#heardAt > SILENCE) this.#lost();
    else this.#say({ type: "ping" });
  }

  #open() {
    const query = this.since === null ? "" : `?since=${this.since}`;
    const socket = new this.around.WebSocket(this.url + query);
    this.#socket = socket;
    this.#heardAt = this.around.now();
    socket.onmessage = (event) => this.#hear(socket, event.data);
    socket.onclose = (event) => this.#closed(socket, event.code);
    this.#pulse = this.around.setInterval(() => this.#beat(), PING_EVERY);
    if (this.state.status !== "connecting") this.#tell({ retryAt: null });
  }

  #beat() {
    if (this.around.now() - this.#heardAt > SILENCE) this.#lost();
    else this.#say({ type: "ping" });
  }

  #hear(socket, text) {
    if (socket !== this.#socket) return;
    this.#heardAt = this.around.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      console.warn("A frame that is not JSON was left out.");
      return;
    }
    if (frame.v !== WIRE_VERSION) return;
    if (frame.type === "hello") {
      this.#attempt = 0;
      this.#tell({ status: "live", lostAt: null, retryAt: null });
    }
    if (frame.type === "sweep_closed" && frame.feed === "central") this.caughtUp(frame.slot);
    this.onFrame(frame);
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    if (code === UNAUTHENTICATED || code === RIGHTS_ENDED) {
      this.#forget();
      this.#tell({ status: code === UNAUTHENTICATED ? "logged-out" : "ended", retryAt: null });
      return;
    }
    this.#lost(code);
  }

  #lost(code) {
    this.#forget();
    this.around.clearTimeout(this.#retry);
    const wait = delay(this.#attempt, this.around.random);
    this.#attempt += 1;
    const now = this.around.now();
    const isOffline = !this.around.isOnline() || this.#attempt > TRIES_BEFORE_OFFLINE;
    const isCrowded = code === TOO_MANY;
    this.#retry = this.around.setTimeout(() => this.#open(), wait);
    this.#tell({
      status: isCrowded ? "crowded" : isOffline ? "offline" : "reconnecting",
      lostAt: this.state.lostAt ?? now,
      retryAt: now + wait,
    });
  }

  #forget() {
    this.around.clearInterval(this.#pulse);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #say(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #tell(change) {
    this.state = { ...this.state, ...change };
    this.onState(this.state);
  }

  #isOver() {
    return this.state.status === "logged-out" || this.state.status === "ended";
  }
}

function browser() {
  return {
    WebSocket: globalThis.WebSocket,
    setTimeout: globalThis.setTimeout.bind(globalThis),
    clearTimeout: globalThis.clearTimeout.bind(globalThis),
    setInterval: globalThis.setInterval.bind(globalThis),
    clearInterval: globalThis.clearInterval.bind(globalThis),
    now: Date.now,
    random: Math.random,
    isOnline: () => navigator.onLine,
  };
}
