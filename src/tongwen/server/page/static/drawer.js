// On a phone the list of conversations is a drawer over the page.

import { byId } from "./dom.js";

const narrow = matchMedia("(max-width: 767px)");

// Opens and closes the drawer; what cannot be seen takes no focus.
export class Drawer {
  constructor() {
    byId("open-menu").addEventListener("click", () => this.open());
    byId("close-menu").addEventListener("click", () => this.close());
    byId("shade").addEventListener("click", () => this.close());
    narrow.addEventListener("change", () => this.close());
    this.close();
  }

  get isOpen() {
    return document.body.classList.contains("drawer");
  }

  open() {
    this.#set(true);
    byId("close-menu").focus();
  }

  close() {
    const wasOpen = this.isOpen;
    this.#set(false);
    if (wasOpen) byId("open-menu").focus();
  }

  #set(isOpen) {
    document.body.classList.toggle("drawer", isOpen);
    byId("sidebar").inert = narrow.matches && !isOpen;
    byId("main").inert = isOpen;
    byId("open-menu").setAttribute("aria-expanded", String(isOpen));
  }
}
