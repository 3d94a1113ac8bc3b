/** <page-notice>: the one line above the signals that says what is wrong and what to do. Empty while all is well. */

import { make, setData, setText } from "./dom.js";

class PageNotice extends HTMLElement {
  connectedCallback() {
    // Only the sentence is read out. It is there from the start: what comes with its region is often not read at all.
    this.words = make("span", "words");
    this.words.role = "status";
    this.moving = make("span", "moving");
    this.moving.ariaHidden = "true";
    this.action = make("button", "button is-small");
    this.action.type = "button";
    this.action.hidden = true;
    this.action.addEventListener("click", () => this.act?.());
    this.append(this.words, this.moving, this.action);
  }

  /** @param notice { level, text, moving, label, act }, or null for none */
  show(notice) {
    setData(this, "level", notice?.level);
    setText(this.words, notice?.text ?? "");
    setText(this.moving, notice?.moving ?? "");
    setText(this.action, notice?.label ?? "");
    this.action.hidden = !notice?.label;
    this.act = notice?.act;
  }
}

customElements.define("page-notice", PageNotice);
