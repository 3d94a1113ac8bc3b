/** The order of a table's rows. Pure functions. */

const words = new Intl.Collator("en", { numeric: true });

/** The places of the rows in their new order, by one value of each.
 *
 * Rows without a value (undefined: too few to say) come last either way; equal ones keep their order.
 *
 * @param values texts, as data attributes hold them: numbers where all are @param isDescending the largest first
 */
export function order(values, isDescending) {
  const has = (place) => values[place] !== undefined;
  const isNumeric = values.every((value) => value === undefined || (value !== "" && Number.isFinite(Number(value))));
  const compare = isNumeric ? (one, other) => Number(one) - Number(other) : words.compare;
  const sign = isDescending ? -1 : 1;
  return [...values.keys()].sort((one, other) => {
    if (!has(one) || !has(other)) return Number(has(other)) - Number(has(one));
    return sign * compare(values[one], values[other]);
  });
}

/** Which way a column is sorted when it is chosen: the other way if it is sorted already, else names up, numbers down. */
export function nextDirection(current, column) {
  if (current) return current === "descending" ? "ascending" : "descending";
  return column === "name" ? "ascending" : "descending";
}
