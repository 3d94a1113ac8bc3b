/** What one cell of the matrix says: the verdict now, and the last call with its age. Words as well as colour. */

import { age, ageInWords } from "../model/format.js";
import { NO_OPINION, stateOf } from "../model/selection.js";
import { setData, setText } from "./dom.js";

const WORDS = { BUY: "BUY", SELL: "SELL", "DO NOTHING": "–", [NO_OPINION]: "n/a", "": "" };
const FLASH = { duration: 700, easing: "ease-out" };

/** Fills an element that has the children .now and .last. */
export function fillCell(element, cell, configuration, now) {
  const state = stateOf(cell);
  setData(element, "signal", state);
  setText(element.children[0], WORDS[state]);
  setText(element.children[1], lastCall(cell, state, now));
  setData(element.children[1], "call", cell && !isActive(state) ? cell.calledSignal : "");
  const label = `${configuration.name}: ${inWords(cell, now)}`;
  if (element.ariaLabel !== label) element.ariaLabel = label;
}

/** A cell in a sentence, for tooltips and screen readers. */
export function inWords(cell, now) {
  const state = stateOf(cell);
  if (!state) return "no verdict yet";
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
