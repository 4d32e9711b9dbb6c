// A table whose rows stay while their numbers change: focus and selection stay with them.
import { element, setText } from "./dom.ts";

export interface Row {
  /** Names the row among its siblings. */
  readonly key: string;
  readonly name: string;
  /** Makes a link of the name. */
  readonly href?: string;
  readonly cells: readonly string[];
  /** 0..1, drawn as a bar below the name. The same is told by a cell. */
  readonly share?: number;
  /** Shows that something is wrong; the cells say what. */
  readonly isBad?: boolean;
}

interface Shown {
  readonly tr: HTMLTableRowElement;
  readonly name: HTMLElement;
  readonly cells: readonly HTMLElement[];
}

export class Table {
  readonly root: HTMLElement;
  readonly #body = element("tbody");
  readonly #empty = element("p", { class: "empty" }, "Loading…");
  readonly #emptyText: string;
  readonly #table: HTMLElement;
  readonly #shown = new Map<string, Shown>();

  /** `columns`: the first names the rows. `empty` is said where there are none; before the first show() nobody knows. */
  constructor(caption: string, columns: readonly string[], empty: string) {
    const heads = columns.map((column) => element("th", { scope: "col" }, column));
    this.#table = element(
      "table",
      {},
      element("caption", { class: "heard" }, caption),
      element("thead", {}, element("tr", {}, ...heads)),
      this.#body,
    );
    this.#emptyText = empty;
    this.#table.hidden = true;
    this.root = element("div", { class: "table" }, this.#table, this.#empty);
    const sizes = new ResizeObserver(() => this.#letScroll());
    sizes.observe(this.root);
    sizes.observe(this.#table);
  }

  /** What must be scrolled has to be reached by the keyboard, and only that. */
  #letScroll(): void {
    if (this.root.scrollWidth > this.root.clientWidth) this.root.tabIndex = 0;
    else this.root.removeAttribute("tabindex");
  }

  show(rows: readonly Row[]): void {
    this.#table.hidden = rows.length === 0;
    this.#empty.hidden = rows.length > 0;
    setText(this.#empty, this.#emptyText);
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, { tr }] of this.#shown) {
      if (keys.has(key)) continue;
      tr.remove();
      this.#shown.delete(key);
    }
    rows.forEach((row, at) => {
      const shown = this.#shown.get(row.key) ?? this.#add(row);
      setText(shown.name, row.name);
      row.cells.forEach((text, column) => {
        const cell = shown.cells[column];
        if (cell !== undefined) setText(cell, text);
      });
      shown.tr.dataset["tone"] = row.isBad === true ? "bad" : "plain";
      if (row.share !== undefined) shown.tr.style.setProperty("--share", String(row.share));
      const place = this.#body.children[at];
      if (place !== shown.tr) this.#body.insertBefore(shown.tr, place ?? null);
    });
  }

  #add({ key, name, href, cells, share }: Row): Shown {
    const label = href === undefined ? element("span", {}, name) : element("a", { href }, name);
    const head = element("th", { scope: "row" }, label);
    if (share !== undefined) head.append(element("span", { class: "share", "aria-hidden": "true" }));
    const made = cells.map((text) => element("td", {}, text));
    const shown = { tr: element("tr", {}, head, ...made), name: label, cells: made };
    this.#shown.set(key, shown);
    return shown;
  }
}
