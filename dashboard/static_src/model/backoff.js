/** How long to wait before trying again. */

const FIRST = 1_000;
const LONGEST = 60_000;

/** Milliseconds before try number `attempt` (0 is the first): doubling up to a minute, with half of it left to chance,
 * so that browsers that lost the same server do not come back together.
 */
export function delay(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST, FIRST * 2 ** attempt);
  return ceiling / 2 + (ceiling / 2) * random();
}
