/** Every page: the theme before the first paint, and menus that close. Loaded in <head>, so it must not wait for anything. */

const THEME = "theme";
const root = document.documentElement;

function storedTheme() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // storage is switched off: the system's theme it is
  }
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(THEME, root.dataset.theme);
  } catch {
    // Kept for this page alone.
  }
  document.dispatchEvent(new CustomEvent("theme"));
}

const stored = storedTheme();
if (stored === "dark" || stored === "light") root.dataset.theme = stored;

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-toggle-theme]")) toggleTheme();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
  if (!menu) return;
  event.preventDefault(); // this Escape has done its work
  menu.open = false;
  menu.querySelector("summary").focus();
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme")));
