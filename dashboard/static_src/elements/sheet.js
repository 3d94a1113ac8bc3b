/** An element that is part of the page on a wide window, and a dialog over the page on a narrow one. */

// The same as in chart.css: where the chart lies over the page.
const narrow = matchMedia("(max-width: 860px), (max-height: 520px)");

export class Sheet {
  #opener = null;
  #inert = [];
  #isOpen = false;

  /** @param element what is shown and hidden @param first what gets the focus @param fallback the same for afterwards */
  constructor(element, { first, fallback }) {
    this.element = element;
    this.first = first;
    this.fallback = fallback;
    narrow.addEventListener("change", () => this.#isOpen && this.#dress());
  }

  /** Whether it lies over the page. */
  get isOver() {
    return this.#isOpen && narrow.matches;
  }

  open() {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#opener = document.activeElement;
    this.element.hidden = false;
    this.#dress();
  }

  /** Gives the focus back, if it was inside. */
  close() {
    if (!this.#isOpen) return;
    const hadFocus = this.isOver || this.element.contains(document.activeElement);
    const opener = this.#opener?.isConnected && this.#opener !== document.body ? this.#opener : this.fallback;
    this.#isOpen = false;
    this.#undress();
    this.element.hidden = true;
    if (hadFocus) opener.focus({ preventScroll: true });
  }

  #dress() {
    this.#undress();
    if (!narrow.matches) return;
    this.element.role = "dialog";
    this.element.ariaModal = "true";
    for (let part = this.element; part !== document.body; part = part.parentElement) {
      for (const other of part.parentElement.children) if (other !== part && !other.inert && !staysAbove(other)) this.#still(other);
    }
    this.first.focus({ preventScroll: true });
  }

  #still(element) {
    element.inert = true;
    this.#inert.push(element);
  }

  #undress() {
    this.element.role = "region";
    this.element.ariaModal = null;
    for (const element of this.#inert.splice(0)) element.inert = false;
  }
}

/** Notifications come above the sheet, and can be closed there. */
function staysAbove(element) {
  return element.localName === "toast-stack";
}
