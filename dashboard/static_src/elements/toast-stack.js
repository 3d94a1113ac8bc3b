/** <toast-stack>: what the user should know, shown until it is closed (errors) or for a while (the rest). */

import { make } from "./dom.js";

const SHOWN_FOR = 12_000;

class ToastStack extends HTMLElement {
  #shown = new Set();

  connectedCallback() {
    this.role = "log";
    this.ariaLabel = "Notifications";
  }

  /** @param notification a notification frame; one that was shown before is left out */
  add(notification) {
    if (this.#shown.has(notification.id)) return;
    this.#shown.add(notification.id);
    const close = make("button", "close", "×");
    close.type = "button";
    close.ariaLabel = "Close this notification";
    const toast = make("div", "toast", make("strong", "", notification.title), make("p", "", notification.body), close);
    toast.dataset.level = notification.level;
    close.addEventListener("click", () => toast.remove());
    if (notification.level !== "error") setTimeout(() => toast.remove(), SHOWN_FOR);
    this.append(toast);
  }
}

customElements.define("toast-stack", ToastStack);
