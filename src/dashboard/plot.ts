// A line over time, by uPlot: a canvas, made for series that grow. What it shows is also in a table, for whoever sees no canvas.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { element } from "./dom.ts";
import { clockMinute, clockTime, compact, whole } from "./format.ts";
import { Table } from "./table.ts";

export interface Point {
  readonly atMs: number;
  /** Undefined: a gap in the line. */
  readonly value: number | undefined;
}

const HEIGHT_PX = 200;
const TABLE_ROWS_MAX = 15;
/** Room for a label of the time axis, and of the other one for each of its characters and beside them. Pixels. */
const TIME_LABEL_PX = 88;
const TIME_AXIS_PX = 32;
const CHARACTER_PX = 7.5;
const BESIDE_PX = 20;
/** Tokens are whole: 1, 2, 5, 10, and so on. */
const WHOLE_STEPS = Array.from({ length: 19 }, (_, digits) => [1, 2, 5].map((step) => step * 10 ** digits)).flat();

export class Plot {
  readonly root: HTMLElement;
  readonly #canvas = element("div", { class: "plot", "aria-hidden": "true" });
  readonly #table: Table;
  readonly #name: string;
  #plot: uPlot | undefined;
  readonly #spanS: number;
  #points: readonly Point[] = [];

  /** `spanS`: so many seconds before the latest point are drawn. */
  constructor(name: string, spanS: number) {
    this.#name = name;
    this.#spanS = spanS;
    this.#table = new Table(name, ["Time", name], "Nothing yet.");
    const table = element("details", {}, element("summary", {}, "The same as a table"), this.#table.root);
    this.root = element("div", {}, this.#canvas, table);
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#plot?.destroy();
      this.#plot = undefined;
      this.#resize();
    });
  }

  show(points: readonly Point[]): void {
    this.#points = points;
    this.#plot?.setData(this.#data());
    // Evenly taken, latest first: as many as one cares to hear.
    const step = Math.max(1, Math.ceil(points.length / TABLE_ROWS_MAX));
    const told = points.filter((_, at) => (points.length - 1 - at) % step === 0).reverse();
    this.#table.show(
      told.map(({ atMs, value }) => ({
        key: String(atMs),
        name: clockTime(atMs),
        cells: [value === undefined ? "–" : whole(value)],
      })),
    );
  }

  #data(): uPlot.AlignedData {
    return [this.#points.map(({ atMs }) => atMs / 1000), this.#points.map(({ value }) => value ?? null)];
  }

  #range(endS: number): [number, number] {
    return [endS - this.#spanS, endS];
  }

  #resize(): void {
    const width = Math.floor(this.#canvas.clientWidth);
    if (width === 0) return;
    if (this.#plot !== undefined) this.#plot.setSize({ width, height: HEIGHT_PX });
    else this.#plot = new uPlot(this.#options(width), this.#data(), this.#canvas);
  }

  #options(width: number): uPlot.Options {
    const style = getComputedStyle(this.#canvas);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    return {
      width,
      height: HEIGHT_PX,
      // A label may stand below the very end.
      padding: [null, TIME_LABEL_PX / 2, null, null],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { range: (_, __, max) => this.#range(max ?? Date.now() / 1000) },
        y: { range: (_, __, max) => [0, Math.max(1, (max ?? 0) * 1.15)] },
      },
      axes: [
        {
          ...axis,
          size: TIME_AXIS_PX,
          space: TIME_LABEL_PX,
          values: (_, values, __, ___, stepS) => values.map(timeLabel(stepS)),
        },
        { ...axis, size: labelRoom, incrs: WHOLE_STEPS, values: (_, values) => values.map(compact) },
      ],
      series: [
        {},
        {
          label: this.#name,
          stroke: colour("--accent"),
          fill: colour("--accent-soft"),
          width: 2,
          points: { show: false },
        },
      ],
    };
  }
}

/** Seconds where ticks are less than a minute apart. */
function timeLabel(stepS: number): (atS: number) => string {
  return (atS) => (stepS < 60 ? clockTime : clockMinute)(atS * 1000);
}

function labelRoom(_: uPlot, labels: readonly string[] | null): number {
  return BESIDE_PX + CHARACTER_PX * Math.max(2, ...(labels ?? []).map((label) => label.length));
}
