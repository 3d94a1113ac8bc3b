/** The signals page: fetches what there is, listens to what changes, and hands both to the elements. */

import "./elements/call-feed.js";
import "./elements/candle-chart.js";
import "./elements/connection-state.js";
import "./elements/page-notice.js";
import "./elements/signal-matrix.js";
import "./elements/sweep-status.js";
import "./elements/toast-stack.js";
import { Book } from "./model/book.js";
import { Connection } from "./model/connection.js";
import { ApiError, getJson } from "./model/fetch.js";
import { countdown } from "./model/format.js";
import { isStale, nextSlot, noticeOf, statusOf } from "./model/state.js";

// What was shown stays while fetching it anew fails.
const RELOAD_AFTER = 5_000;

const page = JSON.parse(document.getElementById("page").textContent);
const find = (selector) => document.querySelector(selector);
const main = find("main");
const matrix = find("signal-matrix");
const calls = find("call-feed");
const chart = find("candle-chart");
const notice = find("page-notice");
const filters = find("form.filters");

let book = null;
let connection = null;
let feed = null; // { sweep, period, nextSlot, market }
let line = { status: "connecting", lostAt: null, retryAt: null };
let view = "loading";
let meanwhile = null; // frames that came while the page's data was being fetched: the answer may be older than they are
let serverAhead = 0; // the server's clock minus ours, in ms
const now = () => Date.now() + serverAhead;

async function load() {
  if (meanwhile) return;
  meanwhile = [];
  try {
    take(await getJson(page.matrix));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) logIn();
    else if (book) setTimeout(load, RELOAD_AFTER);
    else showError(error.message);
    return;
  } finally {
    const heard = meanwhile;
    meanwhile = null;
    if (book) for (const frame of heard) hear(frame);
  }
  if (!connection) connect();
}

function showError(text) {
  showView("error");
  find("[data-error]").textContent = text;
}

function take(reply) {
  serverAhead = reply.at - Date.now();
  feed = { sweep: reply.sweep, period: reply.period, nextSlot: reply.next_slot, market: reply.market };
  book = new Book(reply);
  chooseAlgorithms();
  chart.prepare(page);
  for (const element of [matrix, calls, chart]) element.show(book, now);
  tellPlan(reply);
  tick();
  reopen();
}

function connect() {
  const address = new URL(page.socket, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  connection = new Connection({
    url: address.href,
    // Before the first sweep is closed it may be running: what it has written already is asked for, too.
    since: feed.sweep?.slot ?? Math.round(now()) - feed.period,
    onFrame: hear,
    onState: (state) => {
      line = state;
      if (state.status === "logged-out") logIn();
      tick();
    },
  });
  addEventListener("online", () => connection.retryNow());
  addEventListener("offline", () => connection.networkLost());
  document.addEventListener("visibilitychange", () => document.hidden || connection.pageShown());
  connection.start();
}

/** Frames of types that this page does not know are left alone: a newer server may send them. */
const HEARD = {
  hello: (frame) => {
    serverAhead = frame.at - Date.now();
  },
  signal: (frame) => {
    const before = book.cell(frame.configuration, frame.ticker)?.signal;
    const kind = book.apply(frame);
    if (kind === "known" || kind === "foreign") return;
    if (kind === "new") matrix.changed(frame, before !== undefined && before !== frame.signal);
    if (frame.is_call) calls.changed();
    chart.changed(frame);
    if (view === "blank") showView("ready");
  },
  sweep_closed: (frame) => {
    if (frame.feed !== "central" || (feed.sweep && frame.slot < feed.sweep.slot)) return;
    feed.sweep = frame;
    tick();
  },
  market: (frame) => {
    feed.market = frame;
  },
  notification: (frame) => find("toast-stack").add(frame),
  reload: () => load(),
  gap: () => load(),
  error: (frame) => console.warn("The server did not understand this page:", frame.detail),
};

function hear(frame) {
  meanwhile?.push(frame);
  if (Object.hasOwn(HEARD, frame.type)) HEARD[frame.type](frame);
}

/** Once a second: everything that depends on the clock. */
function tick() {
  if (!book) return;
  const at = now();
  if (book.isEmpty) showView("empty");
  else showView(book.isBlank ? "blank" : "ready");
  find("sweep-status").show({ sweep: feed.sweep, nextSlot: nextSlot(feed, at) }, at);
  find("[data-countdown]").textContent = countdown(nextSlot(feed, at) - at);
  const status = statusOf(line, feed, at);
  find("connection-state").show(status, status === "stale" ? feed.sweep.slot : line.lostAt, at);
  const words = book.isEmpty ? null : noticeOf(line, feed, at);
  notice.show(words && { ...words, act: line.status === "ended" ? () => location.reload() : () => connection.retryNow() });
  main.classList.toggle("is-old", isStale(feed, at) || line.status === "offline" || line.status === "ended");
}

function showView(name) {
  view = name;
  for (const view of document.querySelectorAll("[data-view]")) view.hidden = view.dataset.view !== name;
}

function chooseAlgorithms() {
  const chosen = filters.elements.algorithm.value;
  filters.elements.algorithm.replaceChildren(
    new Option("All algorithms", ""),
    ...book.configurations.map((one) => new Option(one.name, String(one.id))),
  );
  filters.elements.algorithm.value = book.columns.has(Number(chosen)) ? chosen : "";
}

function tellPlan(reply) {
  const hidden = [];
  if (reply.hidden_tickers) hidden.push(`${reply.hidden_tickers} tickers`);
  if (reply.hidden_configurations) hidden.push(`${reply.hidden_configurations} algorithms`);
  const text = hidden.length ? `${hidden.join(" and ")} you follow are not shown on the ${reply.plan} plan.` : "";
  find("[data-plan-hides]").textContent = text;
}

function arrange() {
  const { ticker, algorithm, signal, sort } = filters.elements;
  matrix.arrange({
    ticker: ticker.value,
    configuration: Number(algorithm.value) || null,
    signal: signal.value,
    sort: sort.value,
  });
}

function openChart(ticker, configuration) {
  const chosen = configuration ?? chart.configuration?.id ?? (Number(filters.elements.algorithm.value) || null);
  chart.hidden = false;
  main.classList.add("has-chart");
  chart.open(ticker, chosen);
  matrix.mark(ticker, chart.configuration.id);
  matrix.reveal(ticker);
  remember({ ticker, algorithm: chart.configuration.algorithm });
}

function closeChart() {
  chart.hidden = true;
  main.classList.remove("has-chart");
  matrix.mark(null);
  remember({});
  matrix.grid.focus({ preventScroll: true });
}

/** The open chart is part of the address, so that it can be shared and survives a reload. */
function remember(choice) {
  history.replaceState(null, "", `${location.pathname}${choice.ticker ? `?${new URLSearchParams(choice)}` : ""}`);
}

function reopen() {
  const wish = new URLSearchParams(location.search);
  if (!book.rows.has(wish.get("ticker")) || !chart.hidden) return;
  openChart(wish.get("ticker"), book.configurations.find((one) => one.algorithm === wish.get("algorithm"))?.id);
}

function logIn() {
  location.assign(`${page.logIn}?${new URLSearchParams({ next: location.pathname + location.search })}`);
}

for (const source of [matrix, calls]) {
  source.addEventListener("pick", ({ detail }) => openChart(detail.ticker, detail.configuration));
}
chart.addEventListener("choose", ({ detail }) => openChart(detail.ticker, detail.configuration));
chart.addEventListener("close", closeChart);
matrix.addEventListener("count", ({ detail }) => {
  find("[data-row-count]").textContent = `${detail} of ${book.rows.size}`;
});
matrix.addEventListener("sort", ({ detail }) => {
  filters.elements.sort.value = detail;
  arrange();
});
filters.addEventListener("input", arrange);
filters.addEventListener("submit", (event) => event.preventDefault());
find("[data-retry]").addEventListener("click", () => {
  showView("loading");
  load();
});
find(".tabs").addEventListener("click", ({ target }) => {
  if (!target.dataset.tab) return;
  main.dataset.tab = target.dataset.tab;
  for (const tab of find(".tabs").children) tab.setAttribute("aria-pressed", String(tab === target));
});
document.addEventListener("theme", () => chart.recolour());
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  filters.elements.ticker.focus();
});
setInterval(tick, 1_000);
load();
