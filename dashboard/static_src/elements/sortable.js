/** Makes a table that the server has drawn sortable: its column names become buttons. Rows carry their values as data. */

import { nextDirection, order } from "../model/sorting.js";
import { make } from "./dom.js";

export function makeSortable(table) {
  const heads = [...table.querySelectorAll("thead th[data-column]")];
  for (const head of heads) {
    const name = head.querySelector(".column-name");
    const button = make("button", "column-name", ...name.childNodes);
    button.type = "button";
    button.addEventListener("click", () => sort(table, heads, head));
    name.replaceWith(button);
  }
}

function sort(table, heads, chosen) {
  const { column } = chosen.dataset;
  const direction = nextDirection(chosen.ariaSort, column);
  for (const head of heads) head.removeAttribute("aria-sort");
  chosen.setAttribute("aria-sort", direction);
  const [body] = table.tBodies;
  const rows = [...body.rows];
  body.append(...order(rows.map((row) => row.dataset[column]), direction === "descending").map((place) => rows[place]));
}
