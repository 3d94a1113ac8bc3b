/** <connection-state>: live, reconnecting, offline, stale: each with its own word, mark and colour. */

import { moment } from "../model/format.js";
import { make, setData, setText } from "./dom.js";

const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  crowded: "Too many pages",
  stale: "Stale",
  "logged-out": "Logged out",
  ended: "Access ended",
};

class ConnectionState extends HTMLElement {
  connectedCallback() {
    this.word = make("span", "word", WORDS.connecting);
    this.since = make("span", "since"); // apart, because a narrow header has no room for it
    this.append(make("span", "mark"), this.word, this.since);
    this.role = "status";
  }

  /** @param status a ConnectionState's status, or "stale" @param since when it began, where that matters */
  show(status, since, now) {
    const isSince = status === "offline" || status === "stale";
    setData(this, "status", status);
    setText(this.word, WORDS[status]);
    setText(this.since, isSince && since ? `since ${moment(since, now)}` : "");
  }
}

customElements.define("connection-state", ConnectionState);
