// What the clients' journals prove, gathered: each delivery, when it first set out, when its record was first acknowledged.
import { identityOf } from "../simulation/core/model/ledger.ts";
import { contentOf, type Oracle } from "../simulation/core/oracle.ts";
import { shardOf } from "../src/domain/shard.ts";
import type { UsageRecord } from "../src/domain/usage-record.ts";
import { SHARD_COUNT } from "./deployment.ts";
import { readJournal } from "./journal.ts";
import type { Usage } from "./usage.ts";

/** What is known of a record of one content under one key, over all its deliveries. */
export interface Account {
  readonly record: UsageRecord;
  readonly identity: string;
  readonly content: string;
  firstSentMs: number;
  /** Undefined: never acknowledged. */
  ackMs: number | undefined;
  /** When the last delivery set out that was acknowledged: the store had the record after that. */
  lastAckedSentMs: number;
}

export interface Evidence {
  /** By identity, then by content. */
  readonly accounts: ReadonlyMap<string, ReadonlyMap<string, Account>>;
  /** Of all acknowledgements, ascending: when the delivery set out, and when it was answered. */
  readonly answers: readonly { readonly sentMs: number; readonly ackMs: number }[];
  /** Deliveries: sent; acknowledged; refused since the key stood for other usage; without an answer at the end. */
  readonly sent: number;
  readonly acknowledged: number;
  readonly duplicates: number;
  readonly reused: number;
  readonly unknown: number;
  /** Attempts that ended without an answer for good, and were made again. */
  readonly unanswered: number;
  /** Answers that no good client should get, by what they said. */
  readonly odd: readonly { readonly told: string; readonly account: Account; readonly atMs: number }[];
  /** Deliveries that were refused as contradicting another record of their key, where there never was one. */
  readonly refusedForNothing: readonly { readonly account: Account; readonly atMs: number }[];
}

/** Reads journals into the oracle and into evidence. */
export function gather(journals: readonly string[], oracle: Oracle): Evidence {
  const accounts = new Map<string, Map<string, Account>>();
  const counts = { sent: 0, acknowledged: 0, duplicates: 0, reused: 0, unknown: 0, unanswered: 0 };
  const answers: { sentMs: number; ackMs: number }[] = [];
  const odd: { told: string; account: Account; atMs: number }[] = [];
  const reused: { account: Account; atMs: number }[] = [];
  for (const file of journals) {
    const journal = readJournal(file);
    counts.unanswered += journal.unanswered;
    counts.sent += journal.sent.length;
    counts.unknown += journal.sent.length - journal.told.length;
    const deliveries = new Map<number, { account: Account; atMs: number }>();
    for (const { n, atMs, usage } of journal.sent) {
      const account = accountOf(accounts, toRecord(usage), atMs);
      deliveries.set(n, { account, atMs });
      oracle.sends(account.record);
    }
    for (const { n, atMs, told } of journal.told) {
      const delivery = deliveries.get(n);
      if (delivery === undefined) throw new Error(`${file} tells of delivery ${n}, which it never sent`);
      const { account } = delivery;
      if (told === "recorded" || told === "duplicate") {
        counts.acknowledged += 1;
        if (told === "duplicate") counts.duplicates += 1;
        answers.push({ sentMs: delivery.atMs, ackMs: atMs });
        account.ackMs = Math.min(atMs, account.ackMs ?? atMs);
        account.lastAckedSentMs = Math.max(delivery.atMs, account.lastAckedSentMs);
        oracle.acknowledges(account.record);
      } else if (told === "reused") {
        counts.reused += 1;
        reused.push({ account, atMs });
      } else odd.push({ told, account, atMs });
    }
  }
  const refusedForNothing = reused.filter(({ account }) => accounts.get(account.identity)?.size === 1);
  answers.sort((a, b) => a.ackMs - b.ackMs);
  return { accounts, answers, ...counts, odd, refusedForNothing };
}

export function shardOfRecord({ customerId }: UsageRecord): number {
  return shardOf(customerId, SHARD_COUNT);
}

function accountOf(accounts: Map<string, Map<string, Account>>, record: UsageRecord, sentMs: number): Account {
  const identity = identityOf(record);
  const variants = accounts.get(identity) ?? new Map<string, Account>();
  accounts.set(identity, variants);
  const content = contentOf(record);
  const known = variants.get(content);
  if (known !== undefined) {
    known.firstSentMs = Math.min(known.firstSentMs, sentMs);
    return known;
  }
  const account: Account = { record, identity, content, firstSentMs: sentMs, ackMs: undefined, lastAckedSentMs: 0 };
  variants.set(content, account);
  return account;
}

/** As the oracle has records. It tells contents apart by itself and needs no fingerprint. */
function toRecord({ customerId, key, apiKeyId, eventMs, model, input, output }: Usage): UsageRecord {
  return {
    customerId,
    idempotencyKey: key,
    apiKeyId,
    eventTimeMs: eventMs,
    model,
    measurements: [
      { meter: "input_tokens", quantity: BigInt(input) },
      { meter: "output_tokens", quantity: BigInt(output) },
    ],
    labels: [],
    fingerprint: "",
  };
}
