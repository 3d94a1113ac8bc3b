/** <connection-state>: live, reconnecting, offline, stale: each with its own word, mark and colour. */

import { moment } from "../model/format.js";
import { make, setData, setText } from "./dom.js";

class ConnectionState extends HTMLElement {
  connectedCallback() {
    this.word = make("span", "word", "Connecting…");
    this.append(make("span", "mark"), this.word);
    this.role = "status";
  }

  /** @param status a ConnectionState's status, or "stale" @param since when it began, where that matters */
  show(status, since, now) {
    const words = {
      connecting: "Connecting…",
      live: "Live",
      reconnecting: "Reconnecting…",
      offline: `Offline since ${since ? moment(since, now) : "just now"}`,
      stale: `Stale since ${since ? moment(since, now) : "the start"}`,
      "logged-out": "Logged out",
      ended: "Access ended",
    };
    setData(this, "status", status);
    setText(this.word, words[status]);
  }
}

customElements.define("connection-state", ConnectionState);
