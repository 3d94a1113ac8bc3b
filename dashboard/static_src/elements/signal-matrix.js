/** <signal-matrix>: tickers x algorithms. Only the rows in sight exist; thousands scroll like ten.
 *
 * `show(book)` once per book, `changed(frame)` for each new verdict. Fires "pick" with { ticker, configuration } and
 * "sort" with the wished order.
 */

import { price, utc, value } from "../model/format.js";
import { columnsOf, rowsOf } from "../model/selection.js";
import { make, setText } from "./dom.js";
import { fillCell, flash, inWords } from "./signal-cell.js";

const SPARE_ROWS = 6;
const AGES_EVERY = 5_000;
const RESORT_AFTER = 1_000;
// Before the algorithms: ticker, price, number of BUY, number of SELL.
const FIXED = 4;
// So many tickers of a column are named in its tooltip.
const NAMED = 12;

class SignalMatrix extends HTMLElement {
  #book = null;
  #wish = { ticker: "", configuration: null, signal: "", sort: "ticker" };
  #rows = [];
  #columns = [];
  #shown = new Map(); // index of a row -> its element
  #spare = [];
  #flashes = new Map(); // "ticker configuration" -> true
  #cursor = { row: 0, column: 0 }; // column 0 is the ticker
  #frame = null;
  #resort = null;
  #ages = null;
  #now = Date.now;

  connectedCallback() {
    this.head = make("div", "matrix-head");
    this.head.role = "row";
    this.body = make("div", "matrix-body");
    this.body.role = "rowgroup";
    this.grid = make("div", "matrix-grid", this.head, this.body);
    this.grid.role = "grid";
    this.grid.tabIndex = 0;
    this.grid.setAttribute("aria-label", "Signals: tickers by algorithms");
    this.none = make("p", "matrix-none", "No ticker matches these filters.");
    this.none.hidden = true;
    this.append(this.grid, this.none);
    this.grid.addEventListener("scroll", () => this.#renderSoon(), { passive: true });
    this.grid.addEventListener("click", (event) => this.#clicked(event));
    this.grid.addEventListener("keydown", (event) => this.#pressed(event));
    this.grid.addEventListener("pointerover", (event) => this.#explain(event));
    this.grid.addEventListener("focus", () => this.#renderSoon());
    this.sizes = new ResizeObserver(() => this.#renderSoon());
    this.sizes.observe(this.grid);
    this.#ages = setInterval(() => this.#renderSoon(), AGES_EVERY);
  }

  disconnectedCallback() {
    clearInterval(this.#ages);
    this.sizes.disconnect();
  }

  /** Shows a book from now on. `now` gives the server's clock. */
  show(book, now) {
    this.#book = book;
    this.#now = now;
    this.arrange({});
  }

  /** Filters and sorts: any of { ticker, configuration, signal, sort }. */
  arrange(wish) {
    this.#wish = { ...this.#wish, ...wish };
    if (!this.#book) return;
    this.#columns = columnsOf(this.#book, this.#wish);
    this.#layHead();
    this.#forgetRows();
    this.#sortRows();
  }

  /** A verdict has changed: shows it, with a flash where the signal is another than before. */
  changed(frame, isAnother) {
    if (isAnother) this.#flashes.set(`${frame.ticker} ${frame.configuration}`, true);
    const mayMove = this.#wish.sort !== "ticker" || this.#wish.signal;
    if (mayMove && !this.#resort) {
      this.#resort = setTimeout(() => {
        this.#resort = null;
        this.#sortRows();
      }, RESORT_AFTER);
    }
    this.#renderSoon();
  }

  /** Marks the row and cell whose chart is open. */
  mark(ticker, configuration) {
    this.marked = ticker ? { ticker, configuration } : null;
    this.#renderSoon();
  }

  #sortRows() {
    const symbol = this.#rows[this.#cursor.row]?.symbol;
    this.#rows = rowsOf(this.#book, this.#wish);
    this.#cursor.row = Math.max(0, this.#rows.findIndex((row) => row.symbol === symbol));
    this.#cursor.column = Math.min(this.#cursor.column, this.#columns.length);
    this.none.hidden = this.#rows.length > 0;
    this.grid.setAttribute("aria-rowcount", String(this.#rows.length + 1));
    this.grid.setAttribute("aria-colcount", String(FIXED + this.#columns.length));
    this.body.style.height = `${this.#rows.length * this.#rowHeight()}px`;
    this.dispatchEvent(new CustomEvent("count", { detail: this.#rows.length }));
    this.#renderSoon();
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this).getPropertyValue("--row-height")) || 34;
  }

  #layHead() {
    const configurations = this.#columns.map((column) => this.#book.configurations[column]);
    this.style.setProperty("--algorithms", String(configurations.length));
    this.head.replaceChildren(
      this.#sortHead("Ticker", "ticker", "ascending", "matrix-ticker"),
      headCell("Price", "matrix-price"),
      this.#sortHead("Buy", "buys", "descending", "matrix-count"),
      this.#sortHead("Sell", "sells", "descending", "matrix-count"),
      ...configurations.map((one) => {
        const cell = headCell("", "matrix-algorithm");
        cell.append(make("span", "name", one.name), make("span", "timeframe", one.timeframe));
        const places = this.#book.placesOf(one.id);
        if (places) cell.append(make("span", "timeframe", places.size === 1 ? "1 ticker" : `${places.size} tickers`));
        cell.title = aboutColumn(one, places);
        return cell;
      }),
    );
    [...this.head.children].forEach((cell, index) => cell.setAttribute("aria-colindex", String(index + 1)));
  }

  #sortHead(label, sort, direction, className) {
    const cell = headCell("", className);
    const button = make("button", "sort", label);
    button.type = "button";
    button.dataset.sort = sort;
    const isSorted = this.#wish.sort === sort;
    if (isSorted) button.append(make("span", "arrow", direction === "ascending" ? "↑" : "↓"));
    cell.setAttribute("aria-sort", isSorted ? direction : "none");
    cell.append(button);
    return cell;
  }

  #forgetRows() {
    this.#shown.clear();
    this.#spare = [];
    this.body.replaceChildren();
  }

  #renderSoon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      if (this.#book) this.#render();
    });
  }

  #render() {
    const height = this.#rowHeight();
    const first = Math.max(0, Math.floor(this.grid.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(this.#rows.length, Math.ceil((this.grid.scrollTop + this.grid.clientHeight) / height) + SPARE_ROWS);
    for (const [index, element] of this.#shown) {
      if (index >= first && index < last) continue;
      this.#shown.delete(index);
      this.#spare.push(element);
    }
    for (let index = first; index < last; index += 1) this.#renderRow(index, height);
    for (const element of this.#spare.splice(0)) element.remove();
    this.#flashes.clear();
    this.#showCursor();
  }

  #renderRow(index, height) {
    let element = this.#shown.get(index);
    if (!element) {
      element = this.#spare.pop() ?? this.#newRow();
      this.#shown.set(index, element);
      element.style.transform = `translateY(${index * height}px)`;
      element.setAttribute("aria-rowindex", String(index + 2));
      element.dataset.row = String(index);
    }
    this.#fillRow(element, this.#rows[index], index);
  }

  #newRow() {
    const row = make("div", "matrix-row");
    row.role = "row";
    const ticker = make("div", "matrix-ticker");
    ticker.role = "rowheader";
    row.append(ticker, gridCell("matrix-price"), gridCell("matrix-count buy"), gridCell("matrix-count sell"));
    this.#columns.forEach((column, place) => {
      const cell = gridCell("matrix-cell");
      cell.append(make("span", "now"), make("span", "last"));
      cell.dataset.place = String(place + 1);
      cell.dataset.configuration = String(this.#book.configurations[column].id);
      row.append(cell);
    });
    [...row.children].forEach((cell, number) => cell.setAttribute("aria-colindex", String(number + 1)));
    this.body.append(row);
    return row;
  }

  #fillRow(element, row, index) {
    const [ticker, priceCell, buys, sells, ...cells] = element.children;
    if (element.dataset.ticker !== row.symbol) element.dataset.ticker = row.symbol;
    element.classList.toggle("is-marked", this.marked?.ticker === row.symbol);
    setText(ticker, row.symbol);
    ticker.title = row.symbol; // a long name is cut off
    setText(priceCell, price(row.price, row.step));
    setText(buys, row.buys ? String(row.buys) : "");
    setText(sells, row.sells ? String(row.sells) : "");
    ticker.id = `cell-${index}-0`;
    cells.forEach((cell, place) => {
      const configuration = this.#book.configurations[this.#columns[place]];
      cell.id = `cell-${index}-${place + 1}`;
      const isRun = this.#book.runsOn(configuration.id, row.symbol);
      fillCell(cell, row.cells[this.#columns[place]], configuration, this.#now(), isRun);
      const isMarked = this.marked?.ticker === row.symbol && this.marked.configuration === configuration.id;
      cell.classList.toggle("is-marked", isMarked);
      if (this.#flashes.size && this.#flashes.has(`${row.symbol} ${configuration.id}`)) flash(cell);
    });
  }

  #showCursor() {
    this.body.querySelector(".is-cursor")?.classList.remove("is-cursor");
    const cell = document.getElementById(`cell-${this.#cursor.row}-${this.#cursor.column}`);
    if (!cell) {
      this.grid.removeAttribute("aria-activedescendant");
      return;
    }
    cell.classList.add("is-cursor");
    this.grid.setAttribute("aria-activedescendant", cell.id);
  }

  #clicked(event) {
    const button = event.target.closest("button[data-sort]");
    if (button) {
      this.dispatchEvent(new CustomEvent("sort", { detail: button.dataset.sort }));
      return;
    }
    const row = event.target.closest(".matrix-row");
    if (!row) return;
    const place = Number(event.target.closest("[data-place]")?.dataset.place ?? 0);
    this.#cursor = { row: Number(row.dataset.row), column: place };
    this.#pick();
  }

  #pressed(event) {
    if (event.target !== this.grid || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.#rowHeight()) - 2);
    const end = this.#rows.length - 1;
    const moves = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      PageDown: [page, 0],
      PageUp: [-page, 0],
      Home: event.ctrlKey ? [-end, 0] : [0, -this.#columns.length],
      End: event.ctrlKey ? [end, 0] : [0, this.#columns.length],
    };
    if (event.key === "Enter" || event.key === " ") this.#pick();
    else if (moves[event.key]) this.#move(...moves[event.key]);
    else return;
    event.preventDefault();
  }

  #move(down, right) {
    this.#cursor = {
      row: clamp(this.#cursor.row + down, this.#rows.length - 1),
      column: clamp(this.#cursor.column + right, this.#columns.length),
    };
    this.#scrollTo(this.#cursor.row);
    this.#render();
    const cell = document.getElementById(`cell-${this.#cursor.row}-${this.#cursor.column}`);
    cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Scrolls a ticker's row into sight, once the layout stands. */
  reveal(ticker) {
    requestAnimationFrame(() => {
      const index = this.#rows.findIndex((row) => row.symbol === ticker);
      if (index >= 0) this.#scrollTo(index);
    });
  }

  /** The sticky header covers the top of what is scrolled, so it counts as no room. */
  #scrollTo(index) {
    const height = this.#rowHeight();
    const room = this.grid.clientHeight - this.head.offsetHeight;
    const top = index * height;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top + height > this.grid.scrollTop + room) this.grid.scrollTop = top + height - room;
  }

  #pick() {
    const row = this.#rows[this.#cursor.row];
    if (!row) return;
    const configuration = this.#book.configurations[this.#columns[this.#cursor.column - 1]]?.id ?? null;
    this.dispatchEvent(new CustomEvent("pick", { detail: { ticker: row.symbol, configuration } }));
    this.#renderSoon();
  }

  /** The tooltip is made when the pointer comes: thousands of them would be stale anyhow. */
  #explain(event) {
    const target = event.target.closest(".matrix-cell");
    if (!target) return;
    const ticker = target.closest(".matrix-row").dataset.ticker;
    const configuration = this.#book.configuration(Number(target.dataset.configuration));
    const cell = this.#book.cell(configuration.id, ticker);
    const isRun = this.#book.runsOn(configuration.id, ticker);
    const lines = [
      `${ticker} · ${configuration.name} · ${configuration.timeframe}`,
      inWords(cell, configuration, this.#now(), isRun),
    ];
    if (cell) lines.push(`Candle closed ${utc(cell.closedAt)}`, `Value ${value(cell.value)} · price ${price(cell.price, this.#book.rows.get(ticker).step)}`);
    target.title = lines.join("\n");
  }
}

/** The tooltip of a column: what its algorithm does, and where and when one of the user's own writes a verdict. */
function aboutColumn(configuration, places) {
  const lines = [configuration.description];
  if (configuration.is_own) lines.push(`Your own: a verdict each time its ${configuration.timeframe} candle has closed.`);
  if (places) {
    const named = [...places].sort().slice(0, NAMED);
    const rest = places.size - named.length;
    lines.push(`It runs on ${named.join(", ")}${rest ? ` and ${rest} more` : ""}.`);
  }
  return lines.filter(Boolean).join("\n");
}

function headCell(text, className) {
  const cell = make("div", className, text);
  cell.role = "columnheader";
  return cell;
}

function gridCell(className) {
  const cell = make("div", className);
  cell.role = "gridcell";
  return cell;
}

function clamp(index, end) {
  return Math.max(0, Math.min(end, index));
}

customElements.define("signal-matrix", SignalMatrix);
