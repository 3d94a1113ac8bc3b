/** Which rows and columns of the matrix are shown, and in what order. Pure functions. */

export const NO_OPINION = "no opinion";

/** What a cell says: its signal, NO_OPINION where the verdict has a reason to have none, "" before the first verdict. */
export function stateOf(cell) {
  if (!cell) return "";
  return cell.reason ? NO_OPINION : cell.signal;
}

const ORDERS = {
  ticker: (one, other) => compareSymbols(one, other),
  buys: (one, other) => other.buys - one.buys || one.sells - other.sells || compareSymbols(one, other),
  sells: (one, other) => other.sells - one.sells || one.buys - other.buys || compareSymbols(one, other),
  newest: (one, other) => other.calledAt - one.calledAt || compareSymbols(one, other),
};

/** The columns (indices of configurations) shown: all, or the one that was chosen. */
export function columnsOf(book, { configuration }) {
  const all = book.configurations.map((_, column) => column);
  return configuration ? [book.columns.get(configuration)].filter((column) => column !== undefined) : all;
}

/** The rows shown, in order. A signal keeps the rows with that signal in a shown column.
 *
 * @param wish { ticker: text, configuration: id or null, signal: text or "", sort: ticker | buys | sells | newest }
 */
export function rowsOf(book, wish) {
  const columns = columnsOf(book, wish);
  const sought = wish.ticker.trim().toLowerCase();
  const rows = [...book.rows.values()].filter(
    (row) =>
      (!sought || row.symbol.toLowerCase().includes(sought)) &&
      (!wish.signal || columns.some((column) => stateOf(row.cells[column]) === wish.signal)),
  );
  return rows.sort(ORDERS[wish.sort] ?? ORDERS.ticker);
}

function compareSymbols(one, other) {
  if (one.symbol === other.symbol) return 0;
  return one.symbol < other.symbol ? -1 : 1;
}
