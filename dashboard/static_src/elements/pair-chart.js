/** <pair-chart data-address data-name>: the public candles of a pair with its calls. */

import { ApiError, getJson } from "../model/fetch.js";
import { price } from "../model/format.js";
import { make, setText } from "./dom.js";

class PairChart extends HTMLElement {
  #plot = null;

  connectedCallback() {
    this.role = "group";
    this.ariaLabel = `Chart of ${this.dataset.name}`;
    this.legend = make("p", "chart-legend");
    this.canvas = make("div", "chart-canvas");
    this.message = make("div", "chart-message");
    this.message.role = "status";
    this.replaceChildren(this.legend, this.canvas, this.message);
    document.addEventListener("theme", () => this.#plot?.recolour());
    this.#load();
  }

  async #load() {
    this.#tell("Loading candles…");
    try {
      const series = await getJson(this.dataset.address);
      if (series.candles.length === 0) {
        this.#tell("No candles of this ticker are stored any more, or none yet.");
        return;
      }
      const { CandlePlot } = await import("./candle-plot.js");
      this.#plot = new CandlePlot(this.canvas, (candle) => this.#tellLegend(candle, series.tick_size));
      this.#tell("");
      this.#plot.show(series, series.calls, true);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        this.#tell("The chart could not be loaded. Reload the page.");
        throw error;
      }
      const again = make("button", "button is-small", "Try again");
      again.type = "button";
      again.addEventListener("click", () => this.#load());
      this.#tell(error.message, again);
    }
  }

  #tell(...words) {
    this.message.replaceChildren(...words);
    this.message.hidden = words[0] === "";
  }

  #tellLegend(candle, step) {
    const parts = candle ? ["open", "high", "low", "close"].map((name) => `${name[0].toUpperCase()} ${price(candle[name], step)}`) : [];
    setText(this.legend, parts.join("  "));
  }
}

customElements.define("pair-chart", PairChart);
