// Elements, made without markup in strings: what the service says is text, never HTML.

export type Child = Node | string;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets it only when it differs: a screen reader hears no repetition, a selection survives. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

let headings = 0;

/** A region with a heading that names it. */
export function section(title: string, ...children: readonly Child[]): HTMLElement {
  headings += 1;
  const id = `heading-${headings}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

const LONG_CHARS = 11;

/** One number and what it is. */
export class Tile {
  readonly root: HTMLElement;
  readonly #value = element("dd", { class: "value" }, "–");
  readonly #note = element("dd", { class: "note" });

  constructor(name: string, id: string) {
    this.#value.id = id;
    this.root = element("div", { class: "tile" }, element("dt", {}, name), this.#value, this.#note);
  }

  show(value: string, note = "", tone: "plain" | "warn" | "bad" = "plain"): void {
    setText(this.#value, value);
    setText(this.#note, note);
    // What would break in the middle of a number is written smaller.
    this.root.toggleAttribute("data-long", value.length > LONG_CHARS);
    this.root.dataset["tone"] = tone;
  }
}

/** Tiles side by side. */
export function tiles(...all: readonly Tile[]): HTMLElement {
  return element("dl", { class: "tiles" }, ...all.map(({ root }) => root));
}
