/** The record's pages: tables that can be sorted, the chart of a pair. Without it they show all the same numbers. */

import "./elements/pair-chart.js";
import { makeSortable } from "./elements/sortable.js";

for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
