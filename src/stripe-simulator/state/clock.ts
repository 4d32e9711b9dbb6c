// The simulator's time: the clock it was given, plus an offset that tests move forward, or standing still.

/** Milliseconds since the epoch. */
export type TimeSource = () => number;

/** How the simulator's time follows from the source's. Part of the persisted state. */
export interface ClockSetting {
  readonly offsetMs: number;
  /** Time stands still here, if set. */
  readonly frozenAtMs: number | null;
}

export class SimulatorClock {
  readonly #source: TimeSource;
  #setting: ClockSetting = { offsetMs: 0, frozenAtMs: null };

  constructor(source: TimeSource) {
    this.#source = source;
  }

  nowMs(): number {
    return this.#setting.frozenAtMs ?? this.#source() + this.#setting.offsetMs;
  }

  get isFrozen(): boolean {
    return this.#setting.frozenAtMs !== null;
  }

  apply(setting: ClockSetting): void {
    this.#setting = setting;
  }

  /** The setting under which it is `nowMs` now. */
  settingFor(nowMs: number, frozen: boolean): ClockSetting {
    return { offsetMs: nowMs - this.#source(), frozenAtMs: frozen ? nowMs : null };
  }
}
