/** What the page says of itself: which view it shows, how fresh it is, and which notice stands above it. Pure functions. */

import { age, countdown, moment } from "./format.js";

const STALE_AFTER_SWEEPS = 2;

/** Whether the last closed sweep is more than two sweeps old. */
export function isStale(feed, now) {
  return feed.sweep !== null && now - feed.sweep.slot > STALE_AFTER_SWEEPS * feed.period;
}

/** The next slot, moved on by whole periods once it has passed. */
export function nextSlot(feed, now) {
  if (now < feed.nextSlot) return feed.nextSlot;
  return feed.nextSlot + Math.ceil((now - feed.nextSlot + 1) / feed.period) * feed.period;
}

/** One word for <connection-state>: a live line with old signals is not "live". */
export function statusOf(connection, feed, now) {
  return connection.status === "live" && isStale(feed, now) ? "stale" : connection.status;
}

/** The notice above the signals: { level, text, moving, label }, or null while all is well.
 *
 * `text` stays the same as long as the trouble does, because screen readers read it out whenever it changes; `moving` is
 * what the clock changes. `label` names the way out.
 */
export function noticeOf(connection, feed, now) {
  switch (statusOf(connection, feed, now)) {
    case "offline":
      return {
        level: "error",
        text: `No connection since ${moment(connection.lostAt, now)}. The signals below are from then.`,
        moving: soon(connection, now),
        label: "Try now",
      };
    case "crowded":
      return {
        level: "error",
        text: "More pages are open than your plan allows. Close one of them; this page then connects by itself.",
        moving: soon(connection, now),
        label: "Try now",
      };
    case "reconnecting":
      return { level: "warning", text: "The connection was lost. Reconnecting; nothing that happens meanwhile is missed." };
    case "stale":
      return {
        level: "warning",
        text: `These signals are old: the last sweep stands for ${moment(feed.sweep.slot, now)}, and one is due every ${age(feed.period)}.${reason(feed)}`,
        moving: `${age(now - feed.sweep.slot)} ago`,
      };
    case "ended":
      return { level: "error", text: "Your access to live signals has ended or your plan has changed.", label: "Reload the page" };
    default:
      return feed.market.is_connected ? null : { level: "warning", text: "Market data is interrupted: new candles are late. They are filled in when it is back." };
  }
}

function soon(connection, now) {
  if (connection.retryAt === null) return "Trying now";
  return `Trying again in ${countdown(connection.retryAt - now)}`;
}

function reason(feed) {
  return feed.market.is_connected ? "" : " The market data is interrupted.";
}
