/** What the page knows of every signal: the first answer of the server, moved by the frames of the WebSocket.
 *
 * A verdict's identity is (configuration, ticker, closed_at), and closed_at is also its order: the newest is shown, an
 * older one is filed as history, a known one is dropped. So frames may come doubled, late and in any order.
 */

const CALLS_KEPT = 200;
// How many older candles of a cell are remembered as seen: more than a replay ever brings.
const SEEN_KEPT = 64;

export class Book {
  /** @param reply the answer of /api/matrix/ */
  constructor(reply) {
    this.configurations = reply.configurations;
    this.columns = new Map(reply.configurations.map((one, column) => [one.id, column]));
    this.rows = new Map(reply.tickers.map(([, symbol, step]) => [symbol, newRow(symbol, step, reply.configurations.length)]));
    const symbols = new Map(reply.tickers.map(([id, symbol]) => [id, symbol]));
    this.places = new Map();
    for (const { id, tickers } of reply.configurations) {
      if (tickers) this.places.set(id, new Set(tickers.map((ticker) => symbols.get(ticker))));
    }
    for (const [configuration, ticker, signal, closedAt, calledSignal, calledAt, value, price, reason] of reply.cells) {
      const row = this.rows.get(symbols.get(ticker));
      const cell = { signal, closedAt, calledSignal, calledAt, value, price, reason, seen: [] };
      row.cells[this.columns.get(configuration)] = cell;
      tellPrice(row, cell);
    }
    for (const row of this.rows.values()) tally(row);
    this.calls = [];
    this.callKeys = new Set();
    for (const call of reply.calls) this.#fileCall(call);
  }

  get isEmpty() {
    return this.rows.size === 0 || this.configurations.length === 0;
  }

  /** Whether not one verdict is known: before the first sweep. */
  get isBlank() {
    for (const row of this.rows.values()) if (row.cells.some(Boolean)) return false;
    return true;
  }

  /** The cell of a configuration on a ticker, or undefined. */
  cell(configuration, ticker) {
    return this.rows.get(ticker)?.cells[this.columns.get(configuration)];
  }

  /** The configuration of a ticker's newest call; the first of all where there is none. */
  lastCalled(ticker) {
    const calledAt = (column) => this.rows.get(ticker)?.cells[column]?.calledAt ?? 0;
    return this.configurations.reduce((best, one, column) => (calledAt(column) > calledAt(this.columns.get(best.id)) ? one : best));
  }

  /** Whether a configuration runs on a ticker: one of the user's own may do so on chosen ones only. */
  runsOn(configuration, ticker) {
    return this.places.get(configuration)?.has(ticker) ?? true;
  }

  /** The tickers a configuration runs on where those are not all; else undefined. */
  placesOf(configuration) {
    return this.places.get(configuration);
  }

  /** The configuration's own data, or undefined. */
  configuration(id) {
    return this.configurations[this.columns.get(id)];
  }

  /** Takes in a signal frame. Tells what it was: "new", "history", "known", or "foreign" (nothing of this page's). */
  apply(frame) {
    const row = this.rows.get(frame.ticker);
    const column = this.columns.get(frame.configuration);
    if (!row || column === undefined) return "foreign";
    const cell = row.cells[column];
    const kind = cell ? place(cell, frame.closed_at) : "new";
    if (kind === "new") {
      row.cells[column] = newest(cell, frame);
      tellPrice(row, row.cells[column]);
      tally(row);
    }
    if (kind !== "known" && frame.is_call) {
      this.#fileCall(frame);
      noteCall(row.cells[column], frame);
      tally(row);
    }
    return kind;
  }

  #fileCall(call) {
    const key = `${call.configuration} ${call.ticker} ${call.closed_at}`;
    if (this.callKeys.has(key)) return;
    this.callKeys.add(key);
    // Most calls are the newest: found at once from the front.
    const index = this.calls.findIndex((other) => other.closed_at <= call.closed_at);
    this.calls.splice(index < 0 ? this.calls.length : index, 0, call);
    for (const dropped of this.calls.splice(CALLS_KEPT)) {
      this.callKeys.delete(`${dropped.configuration} ${dropped.ticker} ${dropped.closed_at}`);
    }
  }
}

function newRow(symbol, step, columns) {
  return { symbol, step, cells: new Array(columns), buys: 0, sells: 0, calledAt: 0, price: null, pricedAt: 0 };
}

/** Where a candle stands among those the cell has seen. Remembers it. */
function place(cell, closedAt) {
  if (closedAt > cell.closedAt) return "new";
  if (closedAt === cell.closedAt || cell.seen.includes(closedAt)) return "known";
  remember(cell.seen, closedAt);
  return "history";
}

function remember(seen, closedAt) {
  seen.push(closedAt);
  seen.sort((one, other) => other - one);
  seen.length = Math.min(seen.length, SEEN_KEPT);
}

function newest(previous, frame) {
  const seen = previous?.seen ?? [];
  if (previous) remember(seen, previous.closedAt);
  return {
    signal: frame.signal,
    closedAt: frame.closed_at,
    calledSignal: previous?.calledSignal ?? "",
    calledAt: previous?.calledAt ?? null,
    value: frame.value,
    price: frame.price,
    reason: frame.reason,
    seen,
  };
}

function noteCall(cell, frame) {
  if (cell.calledAt !== null && cell.calledAt >= frame.closed_at) return;
  cell.calledSignal = frame.signal;
  cell.calledAt = frame.closed_at;
}

function tellPrice(row, cell) {
  if (cell.price === null || cell.closedAt < row.pricedAt) return;
  row.price = cell.price;
  row.pricedAt = cell.closedAt;
}

function tally(row) {
  row.buys = row.sells = row.calledAt = 0;
  for (const cell of row.cells) {
    if (!cell) continue;
    if (cell.signal === "BUY") row.buys += 1;
    if (cell.signal === "SELL") row.sells += 1;
    row.calledAt = Math.max(row.calledAt, cell.calledAt ?? 0);
  }
}
