/** What the tests start from: a matrix of two configurations and three tickers, and frames for it. */

export const MINUTE = 60_000;
export const NOON = Date.UTC(2026, 10, 20, 12);

export function reply(changes = {}) {
  return {
    v: 1,
    at: NOON,
    plan: "Free",
    hidden_configurations: 0,
    hidden_tickers: 0,
    configurations: [configuration(1, "rsi", "RSI"), configuration(2, "ema_cross", "EMA cross")],
    tickers: [
      [11, "BTCUSDT", 0.01],
      [12, "ETHUSDT", 0.01],
      [13, "币安人生USDT", 0.0001],
    ],
    cells: [
      [1, 11, "DO NOTHING", NOON, "BUY", NOON - 12 * MINUTE, 43.2, 64_000, ""],
      [2, 11, "SELL", NOON, "SELL", NOON, 0.4, 64_000, ""],
      [1, 12, "DO NOTHING", NOON, "", null, null, 3_000, "gap in the look-back"],
    ],
    sweep: { type: "sweep_closed", v: 1, feed: "central", slot: NOON },
    period: 2 * MINUTE,
    next_slot: NOON + 2 * MINUTE,
    market: { is_connected: true },
    calls: [{ configuration: 2, algorithm: "ema_cross", ticker: "BTCUSDT", closed_at: NOON, signal: "SELL", price: 64_000 }],
    ...changes,
  };
}

export function configuration(id, algorithm, name) {
  return { id, algorithm, name, description: "", timeframe: "2m", version: 1, parameters: {}, is_own: false, tickers: null };
}

export function frame(changes = {}) {
  return {
    type: "signal",
    v: 1,
    feed: "central",
    configuration: 1,
    algorithm: "rsi",
    ticker: "BTCUSDT",
    timeframe: "2m",
    closed_at: NOON + 2 * MINUTE,
    slot: NOON + 2 * MINUTE,
    signal: "BUY",
    is_call: true,
    value: 29.8,
    price: 63_900,
    reason: "",
    ...changes,
  };
}
