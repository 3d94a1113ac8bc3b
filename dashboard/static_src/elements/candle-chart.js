/** <candle-chart>: candles of one ticker with the calls of one algorithm, beside what that algorithm does.
 *
 * `open(ticker, configuration)` fills it, `changed(frame)` keeps it fresh, `stop()` lets it rest. Fires "close" and
 * "choose" (another configuration).
 */

import { exactClock, price, utc, value } from "../model/format.js";
import { ApiError, getJson } from "../model/fetch.js";
import { make, setData, setText } from "./dom.js";
import { inWords } from "./signal-cell.js";

// A reconnect replays many frames at once: one request for all of them.
const REFRESH_AFTER = 300;

class CandleChart extends HTMLElement {
  #book = null;
  #now = Date.now;
  #loading = null;
  #refresh = null;
  #isDrawn = false; // whether what is shown is what was asked for
  #plot = null;

  connectedCallback() {
    this.heading = make("h2", "chart-ticker");
    this.last = make("span", "chart-price");
    this.change = make("span", "chart-change");
    this.legend = make("span", "chart-legend");
    this.algorithms = make("select", "chart-algorithm");
    this.algorithms.ariaLabel = "Algorithm whose calls are marked";
    this.algorithms.addEventListener("change", () => this.#choose());
    this.closer = make("button", "button is-quiet chart-close", "×");
    this.closer.type = "button";
    this.closer.ariaLabel = "Close the chart";
    this.closer.addEventListener("click", () => this.dispatchEvent(new CustomEvent("close")));
    const bar = make("header", "chart-bar", this.heading, this.last, this.change, this.legend, this.algorithms, this.closer);
    this.canvas = make("div", "chart-canvas");
    this.message = make("div", "chart-message");
    this.facts = make("div", "chart-facts");
    this.facts.tabIndex = 0;
    this.facts.role = "region";
    this.facts.ariaLabel = "About this algorithm";
    this.append(bar, make("div", "chart-plot", this.canvas, this.message), this.facts);
  }

  /** @param addresses { candles, calls, record }: URLs; candles has __ticker__ and __timeframe__ in it, record
   * __algorithm__ and __ticker__ */
  prepare(addresses) {
    this.addresses = addresses;
  }

  /** Takes its data from this book from now on. What is open is opened anew by whoever calls this. */
  show(book, now) {
    this.#book = book;
    this.#now = now;
    this.algorithms.replaceChildren(
      ...book.configurations.map((one) => new Option(`${one.name} · ${one.timeframe}`, String(one.id))),
    );
  }

  /** Loads and shows a ticker's candles with the calls of a configuration (the first one where none is given). */
  open(ticker, configurationId) {
    const configuration = this.#book.configuration(configurationId) ?? this.#book.lastCalled(ticker);
    if (ticker !== this.ticker || configuration.id !== this.configuration.id) this.#isDrawn = false;
    this.ticker = ticker;
    this.configuration = configuration;
    this.algorithms.value = String(configuration.id);
    setText(this.heading, ticker);
    this.heading.title = ticker; // a long name is cut off
    this.ariaLabel = `Chart of ${ticker}`;
    this.#tellFacts();
    return this.#load();
  }

  /** A new verdict: the facts, and a new candle where it brought one. */
  changed(frame) {
    if (this.hidden || frame.ticker !== this.ticker || frame.configuration !== this.configuration?.id) return;
    this.#refresh ??= setTimeout(() => {
      this.#tellFacts();
      this.#load();
    }, REFRESH_AFTER);
  }

  /** Fetches nothing more until it is opened again. */
  stop() {
    this.#loading?.abort();
    this.#forgetRefresh();
    this.ticker = null;
  }

  /** Takes the colours of the theme anew. */
  recolour() {
    this.#plot?.recolour();
  }

  #choose() {
    const detail = { ticker: this.ticker, configuration: Number(this.algorithms.value) };
    this.dispatchEvent(new CustomEvent("choose", { detail }));
  }

  #forgetRefresh() {
    clearTimeout(this.#refresh);
    this.#refresh = null;
  }

  async #load() {
    this.#forgetRefresh();
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    const { ticker, configuration } = this;
    if (!this.#isDrawn) this.#tell("Loading candles…");
    try {
      const candles = this.addresses.candles
        .replace("__ticker__", encodeURIComponent(ticker))
        .replace("__timeframe__", configuration.timeframe);
      const calls = `${this.addresses.calls}?${new URLSearchParams({ ticker, algorithm: configuration.algorithm })}`;
      const [series, called] = await Promise.all([
        getJson(candles, { signal: loading.signal }),
        getJson(calls, { signal: loading.signal }),
      ]);
      // The chart library is fetched when the first chart is opened.
      const { CandlePlot } = await import("./candle-plot.js");
      if (loading.signal.aborted) return;
      this.#plot ??= new CandlePlot(this.canvas, (candle) => this.#tellLegend(candle));
      this.#draw(series, called.calls.filter((call) => call.configuration === configuration.id));
    } catch (error) {
      if (loading.signal.aborted) return;
      if (!(error instanceof ApiError)) {
        // A module that could not be fetched is not asked for again by the browser while the page stands.
        this.#tell("The chart could not be loaded. Reload the page.", { label: "Reload", act: () => location.reload() });
        throw error;
      }
      if (!this.#isDrawn) this.#tell(error.message, { label: "Try again", act: () => this.#load() });
    }
  }

  #draw(series, calls) {
    if (series.candles.length === 0) {
      this.#tell("No candles of this ticker yet. They appear when the market data has been filled in.");
      return;
    }
    this.#tell("");
    this.step = series.tick_size;
    this.#plot.show(series, calls, !this.#isDrawn);
    this.#isDrawn = true;
    const [, open, , , close] = series.candles.at(-1);
    setText(this.last, price(close, this.step));
    const percent = open ? (close / series.candles[0][1] - 1) * 100 : 0;
    setText(this.change, `${percent >= 0 ? "+" : "−"}${Math.abs(percent).toFixed(2)} %`);
    this.change.title = `Since ${utc(series.candles[0][0])}, where the chart begins`;
    setData(this.change, "direction", percent >= 0 ? "up" : "down");
    this.#tellLegend(null);
  }

  #tellLegend(candle) {
    if (!candle) {
      setText(this.legend, "");
      return;
    }
    const parts = ["open", "high", "low", "close"].map((name) => `${name[0].toUpperCase()} ${price(candle[name], this.step)}`);
    setText(this.legend, parts.join("  "));
  }

  /** A message in place of the candles, with a way out; none for the empty text. */
  #tell(text, wayOut = null) {
    this.message.hidden = !text;
    this.message.replaceChildren(text);
    if (!wayOut) return;
    const button = make("button", "button is-small", wayOut.label);
    button.type = "button";
    button.addEventListener("click", wayOut.act);
    this.message.append(button);
  }

  #tellFacts() {
    const { configuration } = this;
    const cell = this.#book.cell(configuration.id, this.ticker);
    const facts = make("dl", "facts");
    const add = (name, text) => facts.append(make("dt", "", name), make("dd", "", text));
    if (cell) {
      add("Value", value(cell.value));
      add("Candle closed", exactClock(cell.closedAt));
    }
    add("Timeframe", configuration.timeframe);
    add("Version", String(configuration.version));
    for (const [name, parameter] of Object.entries(configuration.parameters)) add(name.replaceAll("_", " "), String(parameter));
    const verdict = make("p", "verdict", inWords(cell, configuration, this.#now(), this.#book.runsOn(configuration.id, this.ticker)));
    setData(verdict, "signal", cell?.reason ? "" : cell?.signal);
    const record = make("a", "", "Record of this pair");
    record.href = this.addresses.record
      .replace("__algorithm__", encodeURIComponent(configuration.algorithm))
      .replace("__ticker__", encodeURIComponent(this.ticker));
    const about = make("p", "about", configuration.description);
    this.facts.replaceChildren(make("h3", "", configuration.name), verdict, about, facts, make("p", "chart-record", record));
  }
}

customElements.define("candle-chart", CandleChart);
