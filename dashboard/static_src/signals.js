/** The signals page: fetches what there is, listens to what changes, and hands both to the elements. */

import "./elements/call-feed.js";
import "./elements/candle-chart.js";
import "./elements/connection-state.js";
import "./elements/page-notice.js";
import "./elements/signal-matrix.js";
import "./elements/sweep-status.js";
import { Sheet } from "./elements/sheet.js";
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
const sheet = new Sheet(chart, { first: chart.closer, fallback: matrix.grid });

let book = null;
let connection = null;
let feed = null; // { sweep, period, nextSlot, market }
let line = { status: "connecting", lostAt: null, retryAt: null };
let view = "loading";
let isOutdated = false; // once the new socket has said hello, the page's data must be fetched anew
let isWantedAgain = false; // what is being fetched will be out of date
let meanwhile = null; // frames that came while the page's data was being fetched: the answer may be older than they are
let serverAhead = 0; // the server's clock minus ours, in ms
const now = () => Date.now() + serverAhead;

async function load() {
  if (meanwhile) {
    isWantedAgain = true;
    return;
  }
  meanwhile = [];
  isWantedAgain = false;
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
  else if (feed.sweep) connection.caughtUp(feed.sweep.slot);
  if (isWantedAgain) load();
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
  tellKey();
  chart.prepare(page);
  for (const element of [matrix, calls, chart]) element.show(book, now);
  arrange();
  tellPlan(reply);
  tick();
  followAddress();
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
    if (isOutdated) load();
    isOutdated = false;
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
  // The groups this socket is joined to may be others now: first join those, then look what there is.
  reload: () => {
    isOutdated = true;
    connection.renew();
  },
  gap: () => load(),
  error: (frame) => console.warn("The server did not understand this page:", frame.detail),
};

// What a fetched answer may be older than.
const DATA = ["signal", "sweep_closed", "market"];

function hear(frame) {
  if (DATA.includes(frame.type)) meanwhile?.push(frame);
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
  main.classList.toggle("is-old", isStale(feed, at) || ["offline", "crowded", "ended"].includes(line.status));
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

function tellKey() {
  find("[data-key-not-run]").hidden = !book.configurations.some((one) => book.placesOf(one.id));
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
  const isNew = chart.hidden;
  sheet.open();
  chart.open(ticker, configuration ?? chart.configuration?.id ?? (Number(filters.elements.algorithm.value) || null));
  matrix.mark(ticker, chart.configuration.id);
  if (isNew) matrix.reveal(ticker);
  remember({ ticker, configuration: chart.configuration.id }, isNew && sheet.isOver);
}

function closeChart() {
  chart.stop();
  sheet.close();
  matrix.mark(null);
}

/** What the user does to close the chart. Where opening it was a step, closing it is the step back. */
function leaveChart() {
  if (history.state?.isStep) history.back();
  else {
    closeChart();
    remember({}, false);
  }
}

/** The open chart is part of the address, so that it can be shared and survives a reload. Over the page it is a step of
 * its own: Back closes it.
 */
function remember(choice, isStep) {
  const address = `${location.pathname}${choice.ticker ? `?${new URLSearchParams(choice)}` : ""}`;
  if (address === location.pathname + location.search) return;
  if (isStep) history.pushState({ isStep }, "", address);
  else history.replaceState(history.state, "", address);
}

/** Shows the chart that the address speaks of, or none. */
function followAddress() {
  const wish = new URLSearchParams(location.search);
  const ticker = wish.get("ticker");
  if (book.rows.has(ticker)) openChart(ticker, Number(wish.get("configuration")) || null);
  else if (!chart.hidden) {
    closeChart();
    remember({}, false);
  }
}

function logIn() {
  location.assign(`${page.logIn}?${new URLSearchParams({ next: location.pathname + location.search })}`);
}

for (const source of [matrix, calls]) {
  source.addEventListener("pick", ({ detail }) => openChart(detail.ticker, detail.configuration));
}
chart.addEventListener("choose", ({ detail }) => openChart(detail.ticker, detail.configuration));
chart.addEventListener("close", leaveChart);
addEventListener("popstate", () => book && followAddress());
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
  // A search field clears itself first.
  const isTaken = event.defaultPrevented || (event.target.type === "search" && event.target.value);
  if (event.key === "Escape" && !chart.hidden && !isTaken) leaveChart();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  filters.elements.ticker.focus();
});
setInterval(tick, 1_000);
load();
