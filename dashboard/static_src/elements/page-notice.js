/** <page-notice>: the one line above the signals that says what is wrong and what to do. Hidden while all is well. */

import { make, setData, setText } from "./dom.js";

class PageNotice extends HTMLElement {
  connectedCallback() {
    this.words = make("span", "words");
    this.action = make("button", "button is-small");
    this.action.type = "button";
    this.action.addEventListener("click", () => this.act?.());
    this.append(this.words, this.action);
    this.role = "status";
    this.hidden = true;
  }

  /** @param notice { level, text, label, act }, or null for none */
  show(notice) {
    this.hidden = notice === null;
    if (notice === null) return;
    setData(this, "level", notice.level);
    setText(this.words, notice.text);
    setText(this.action, notice.label ?? "");
    this.action.hidden = !notice.label;
    this.act = notice.act;
  }
}

customElements.define("page-notice", PageNotice);
