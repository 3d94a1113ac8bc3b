/** What one cell of the matrix says: the verdict now, and the last call with its age. Words as well as colour. */

import { age, ageInWords } from "../model/format.js";
import { NO_OPINION, stateOf } from "../model/selection.js";
import { setData, setText } from "./dom.js";

// A cell in which there will never be a verdict: its configuration does not run on this ticker.
const NOT_RUN = "not run";
const WORDS = { BUY: "BUY", SELL: "SELL", "DO NOTHING": "–", [NO_OPINION]: "n/a", [NOT_RUN]: "·", "": "…" };
const FLASH = { duration: 700, easing: "ease-out" };

/** Fills an element that has the children .now and .last. `isRun`: whether the configuration runs on this ticker. */
export function fillCell(element, cell, configuration, now, isRun) {
  const state = cell || isRun ? stateOf(cell) : NOT_RUN;
  setData(element, "signal", state);
  setText(element.children[0], WORDS[state]);
  setText(element.children[1], lastCall(cell, state, now));
  setData(element.children[1], "call", cell && !isActive(state) ? cell.calledSignal : "");
  const label = `${configuration.name}: ${inWords(cell, configuration, now, isRun)}`;
  if (element.ariaLabel !== label) element.ariaLabel = label;
}

/** A cell in a sentence, for tooltips and screen readers. */
export function inWords(cell, configuration, now, isRun) {
  const state = stateOf(cell);
  if (!state && !isRun) return "not run on this ticker";
  if (!state) return `no verdict yet, the first one comes when a ${configuration.timeframe} candle closes`;
  const ago = cell.calledAt === null ? "" : `${ageInWords(now - cell.calledAt)} ago`;
  if (isActive(state)) return cell.calledSignal === state ? `${state}, called ${ago}` : state;
  const called = ago ? `last call ${cell.calledSignal} ${ago}` : "no call yet";
  if (state === NO_OPINION) return `no opinion (${cell.reason}), ${called}`;
  return `DO NOTHING, ${called}`;
}

/** Shows for a moment that the cell has changed. Not for people who asked for less motion. */
export function flash(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  element.animate([{ backgroundColor: "color-mix(in srgb, var(--flash-fill) 60%, transparent)" }, {}], FLASH);
}

function isActive(state) {
  return state === "BUY" || state === "SELL";
}

function lastCall(cell, state, now) {
  if (state === NO_OPINION) return "";
  if (!cell || cell.calledAt === null) return isActive(state) ? age(now - cell.closedAt) : "";
  if (isActive(state)) return age(now - (cell.calledSignal === state ? cell.calledAt : cell.closedAt));
  return `${cell.calledSignal} ${age(now - cell.calledAt)}`;
}
