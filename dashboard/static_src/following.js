/** The following page: counts what is ticked against the plan, and finds tickers by name. Works without it, too. */

const form = document.querySelector("form.following");
const tickers = [...form.querySelectorAll('input[name="tickers"]')];
const algorithms = [...form.querySelectorAll('input[name="configurations"]')];
const all = form.elements.all_tickers;
const search = form.querySelector("[data-search]");

function tell(name, ticked, limit) {
  const output = form.querySelector(`[data-count="${name}"]`);
  const isOver = ticked > limit;
  output.textContent = isOver ? `${ticked} of ${limit}: take away ${ticked - limit}` : `${ticked} of ${limit}`;
  output.classList.toggle("is-over", isOver);
}

function count() {
  const isAll = Boolean(all?.checked);
  form.classList.toggle("is-all", isAll);
  for (const box of tickers) box.disabled = isAll;
  const ticked = isAll ? tickers.length : tickers.filter((box) => box.checked).length;
  tell("configurations", algorithms.filter((box) => box.checked).length, Number(form.dataset.algorithms));
  tell("tickers", ticked, Number(form.dataset.tickers));
}

function filter() {
  const sought = search.value.trim().toLowerCase();
  for (const box of tickers) box.closest("label").hidden = !box.value.toLowerCase().includes(sought);
}

function tick(isTicked) {
  for (const box of tickers) if (!box.closest("label").hidden) box.checked = isTicked;
  count();
}

form.addEventListener("change", count);
search.addEventListener("input", filter);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault(); // would send the form
});
form.querySelector("[data-tick]").addEventListener("click", () => tick(true));
form.querySelector("[data-untick]").addEventListener("click", () => tick(false));
count();
