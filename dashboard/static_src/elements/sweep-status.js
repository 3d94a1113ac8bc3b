/** <sweep-status>: the last sweep and the next one. `show({ sweep, nextSlot }, now)`; sweep is null before the first. */

import { count, countdown, exactClock, seconds, utc } from "../model/format.js";
import { make, setData, setText } from "./dom.js";

const PARTS = [
  ["slot", "Last sweep"],
  ["duration", "took"],
  ["ok", "ok"],
  ["stale", "stale"],
  ["failed", "failed"],
  ["missing", "missing"],
  ["results", "results"],
  ["calls", "calls"],
  ["next", "Next in"],
];
const TROUBLES = ["stale", "failed", "missing"];

class SweepStatus extends HTMLElement {
  connectedCallback() {
    this.values = {};
    const list = make("dl", "sweep");
    for (const [name, label] of PARTS) {
      this.values[name] = make("dd", "", "–");
      const part = make("div", `sweep-${name}`, make("dt", "", label), this.values[name]);
      list.append(part);
    }
    this.append(list);
  }

  show({ sweep, nextSlot }, now) {
    setData(this, "known", sweep ? "sweep" : "next");
    if (sweep) {
      setText(this.values.slot, exactClock(sweep.slot));
      this.values.slot.title = `${utc(sweep.slot)}, ${count(sweep.tickers)} tickers`;
      setText(this.values.duration, seconds(sweep.duration_ms));
      for (const name of ["ok", "stale", "failed", "missing", "results", "calls"]) {
        setText(this.values[name], count(sweep[name]));
      }
      for (const name of TROUBLES) setData(this.values[name].parentElement, "trouble", sweep[name] ? "yes" : "");
    }
    setText(this.values.next, countdown(nextSlot - now));
  }
}

customElements.define("sweep-status", SweepStatus);
