// What applying an event stands on, for every kind of event.
import type { Accounts, ClaimedStripeEvent, StripeObjects } from "./ports/accounts.ts";
import type { Logger } from "./ports/logger.ts";
import type { MeterErrorSource, MeterErrors } from "./ports/meter-errors.ts";
import type { FlushRequests } from "./ports/reports.ts";

export interface EffectDependencies {
  readonly objects: StripeObjects & MeterErrorSource;
  readonly accounts: Accounts;
  readonly meterErrors: MeterErrors;
  readonly flushRequests: Pick<FlushRequests, "request">;
  /** Of the metadata that names the service's own id of a Stripe customer. */
  readonly customerMetadataKey: string;
  readonly logger: Logger;
  /** Told of reports that an event put on hold, for the metrics. Must not throw. */
  readonly onHeld: (reason: string, reports: number) => void;
}

/** Applies one event; may be repeated. Rejects where it could not be applied, or not wholly: it then comes again. */
export type Effect = (deps: EffectDependencies, event: ClaimedStripeEvent, signal: AbortSignal) => Promise<void>;

/** By type of event. */
export type Effects = readonly (readonly [type: string, effect: Effect])[];
