/** A chart's marks: where the calls stand on the candles. Pure functions. */

const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The length of a timeframe ("2m", "4h") in milliseconds. */
export function lengthOf(timeframe) {
  return Number(timeframe.slice(0, -1)) * UNITS[timeframe.at(-1)];
}

/** The calls as marks of the chart library: BUY below its candle, SELL above it. Calls older than the chart are left out.
 *
 * @param calls in any order @param series { timeframe, candles } @param colours { BUY, SELL }
 */
export function callMarks(calls, series, colours) {
  const length = lengthOf(series.timeframe);
  const opened = new Set(series.candles.map(([time]) => time));
  return calls
    .filter((call) => opened.has(call.closed_at - length))
    .sort((one, other) => one.closed_at - other.closed_at)
    .map((call) => ({
      // A candle is drawn at its opening; the call came when it closed.
      time: (call.closed_at - length) / 1000,
      position: call.signal === "BUY" ? "belowBar" : "aboveBar",
      shape: call.signal === "BUY" ? "arrowUp" : "arrowDown",
      color: colours[call.signal],
      text: call.signal,
    }));
}
