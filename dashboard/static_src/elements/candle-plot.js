/** The drawing of a chart: lightweight-charts with our colours, the user's own time zone and the calls as arrows. */

import { CandlestickSeries, CrosshairMode, HistogramSeries, createChart, createSeriesMarkers } from "lightweight-charts";

import { moment, price, stepDecimals } from "../model/format.js";
import { callMarks } from "../model/marks.js";
import { colour } from "./dom.js";

// So many pixels each candle gets at first: narrower ones are only lines.
const WIDTH_OF_A_CANDLE = 6;

const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export class CandlePlot {
  /** @param onCandle called with { open, high, low, close } under the crosshair, or null */
  constructor(container, onCandle) {
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: true, fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, rightOffset: 4, tickMarkFormatter: tickMark },
      localization: { timeFormatter: (time) => moment(time * 1000, Date.now()) },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineVisible: true });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
    this.marks = createSeriesMarkers(this.candles, []);
    this.chart.subscribeCrosshairMove((move) => onCandle(move.seriesData.get(this.candles) ?? null));
    this.recolour();
  }

  /** @param series the answer of /api/candles/ @param calls those of one configuration @param isNew another chart */
  show(series, calls, isNew) {
    this.shown = { series, calls };
    const precision = stepDecimals(series.tick_size);
    this.candles.applyOptions({
      priceFormat: { type: "custom", formatter: (at) => price(at, series.tick_size), minMove: 10 ** -precision },
    });
    this.candles.setData(
      series.candles.map(([time, open, high, low, close]) => ({ time: time / 1000, open, high, low, close })),
    );
    this.#paint();
    if (isNew) {
      const end = series.candles.length;
      const inSight = Math.max(40, Math.round(this.chart.chartElement().clientWidth / WIDTH_OF_A_CANDLE));
      this.chart.timeScale().setVisibleLogicalRange({ from: end - inSight, to: end + 4 });
    }
  }

  /** Takes the colours of the theme anew. */
  recolour() {
    const [text, line, up, down] = ["--text-muted", "--line-faint", "--buy", "--sell"].map(colour);
    this.chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: text },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    if (this.shown) this.#paint();
  }

  #paint() {
    const { series, calls } = this.shown;
    const [up, down] = ["--buy-fill", "--sell-fill"].map(colour);
    this.volume.setData(
      series.candles.map(([time, open, , , close, volume]) => ({
        time: time / 1000,
        value: volume,
        color: close >= open ? up : down,
      })),
    );
    this.marks.setMarkers(callMarks(calls, series, { BUY: colour("--buy"), SELL: colour("--sell") }));
  }
}

function tickMark(time, kind) {
  // Kinds 0 to 2 are years, months and days.
  return (kind <= 2 ? days : hours).format(time * 1000);
}
