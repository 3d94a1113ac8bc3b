/** Making elements. Text only ever goes in as text. */

/** An element with a class, and with children that are elements or text. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Changes an element's text only where it differs: writing the same text costs a layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets a data attribute; the empty string removes it. */
export function setData(element, name, value) {
  if (!value) delete element.dataset[name];
  else if (element.dataset[name] !== value) element.dataset[name] = value;
}

/** The value of a colour token of tokens.css as a colour that a canvas understands. */
export function colour(token) {
  const probe = make("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}
