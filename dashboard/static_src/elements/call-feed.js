/** <call-feed>: the newest calls. `show(book, now)` once, `changed()` after each new call. Fires "pick". */

import { age, clock, price, utc } from "../model/format.js";
import { make, setText } from "./dom.js";
import { flash } from "./signal-cell.js";

const SHOWN = 100;
const AGES_EVERY = 5_000;

class CallFeed extends HTMLElement {
  #book = null;
  #now = Date.now;
  #items = new Map(); // call -> its element
  #frame = null;

  connectedCallback() {
    this.list = make("ol", "calls-list");
    this.none = make("p", "calls-none", "No calls yet. A call appears here when a signal turns to BUY or SELL.");
    this.append(this.list, this.none);
    this.list.addEventListener("click", (event) => {
      const { ticker, configuration } = event.target.closest("button")?.dataset ?? {};
      if (ticker) this.dispatchEvent(new CustomEvent("pick", { detail: { ticker, configuration: Number(configuration) } }));
    });
    this.ages = setInterval(() => this.changed(), AGES_EVERY);
  }

  disconnectedCallback() {
    clearInterval(this.ages);
  }

  show(book, now) {
    this.#book = book;
    this.#now = now;
    this.#items.clear();
    this.list.replaceChildren();
    this.#render(false);
  }

  changed() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      if (this.#book) this.#render(true);
    });
  }

  #render(isFlashing) {
    const calls = this.#book.calls.slice(0, SHOWN);
    const kept = new Set(calls);
    for (const [call, item] of this.#items) {
      if (kept.has(call)) continue;
      item.remove();
      this.#items.delete(call);
    }
    calls.forEach((call, index) => {
      let item = this.#items.get(call);
      if (!item) {
        item = this.#newItem(call);
        this.#items.set(call, item);
        if (isFlashing) flash(item.firstChild);
      }
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
      setText(item.querySelector(".age"), age(this.#now() - call.closed_at));
    });
    this.none.hidden = calls.length > 0;
  }

  #newItem(call) {
    const signal = make("span", "chip", call.signal);
    signal.dataset.signal = call.signal;
    const button = make(
      "button",
      "call",
      signal,
      make("span", "ticker", call.ticker),
      make("span", "price", price(call.price, this.#book.rows.get(call.ticker)?.step)),
      make("span", "algorithm", this.#book.configuration(call.configuration)?.name ?? call.algorithm),
      make("span", "when", make("span", "age"), ` · ${clock(call.closed_at)}`),
    );
    button.type = "button";
    button.dataset.ticker = call.ticker;
    button.dataset.configuration = String(call.configuration);
    button.title = `${call.ticker}: called on the candle that closed ${utc(call.closed_at)}`;
    return make("li", "", button);
  }
}

customElements.define("call-feed", CallFeed);
