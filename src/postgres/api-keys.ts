// API keys as an operator defines them.
import {
  type ApiKey,
  type ApiKeyChange,
  type ApiKeyCreation,
  type ApiKeyDefinition,
  type ApiKeys,
  KEYS_PER_CUSTOMER_MAX,
} from "../app/ports/api-keys.ts";
import type { KeyRef } from "../domain/limits.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { shardOf } from "../domain/shard.ts";
import { recountLocked } from "./limit-ledger.ts";
import { inTransaction, type Pool, type PoolClient } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";
import { reading, repeatable } from "./unavailable.ts";

const READ = sqlFile("api-key-read");
const LOCK = sqlFile("api-key-lock");
const LIST = sqlFile("api-key-list");
const COUNT = sqlFile("api-key-count");
const CHANGES = { name: "api-key-changes", text: sqlFile("api-key-changes") };
const CREATE = sqlFile("api-key-create");
const UPDATE = sqlFile("api-key-update");
const DELETE = sqlFile("api-key-delete");
const FORGET = sqlFile("api-key-forget");
const LOCK_SHARDS = sqlFile("ledger-lock-shards");

/** How long a deleted key is remembered: who follows the changes must have looked within this time. */
export const DELETED_KEYS_KEPT_MS = 7 * 86_400_000;

interface ApiKeyRow {
  readonly customer_id: string;
  readonly api_key_id: string;
  readonly name: string;
  readonly tier: string;
  readonly tokens_per_minute: string | null;
  readonly tokens_per_day: string | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly disabled_at: Date | null;
  readonly deleted_at: Date | null;
  readonly revision: string;
}

/** `catalog` says which meters count. */
export function postgresApiKeys(pool: Pool, catalog: MeterCatalog, shardCount: number): ApiKeys {
  return {
    create: (definition) => repeatable(() => createKey(pool, catalog, shardCount, definition)),
    get: (key) => reading(() => readKey(pool, key)),
    list: (customerId, after, limit) =>
      reading(async () => {
        const { customerId: afterCustomer, apiKeyId: afterKey } = after ?? { customerId: "", apiKeyId: "" };
        const values = [customerId ?? null, afterCustomer, afterKey, limit];
        return (await pool.query<ApiKeyRow>(LIST, values)).rows.map(toApiKey);
      }),
    update: (key, change) => repeatable(() => inTransaction(pool, (client) => updateKey(client, key, change))),
    delete: ({ customerId, apiKeyId }) =>
      repeatable(async () => (await pool.query(DELETE, [customerId, apiKeyId])).rowCount === 1),
    changesSince: (revision, limit) =>
      reading(async () => {
        const result = await pool.query<ApiKeyRow>({ ...CHANGES, values: [revision.toString(), limit] });
        return result.rows.map((row) => {
          const { customer_id: customerId, api_key_id: apiKeyId } = row;
          const key = row.deleted_at === null ? toApiKey(row) : undefined;
          return { customerId, apiKeyId, revision: BigInt(row.revision), key };
        });
      }),
  };
}

/** Forgets what was deleted long ago. Idempotent. */
export async function forgetDeletedKeys(pool: Pool, nowMs: number): Promise<void> {
  await pool.query(FORGET, [new Date(nowMs - DELETED_KEYS_KEPT_MS)]);
}

/**
 * 1. lock the shard, as every apply does first: what is in the ledger now is counted below, what comes later finds the key;
 * 2. define the key, unless it is, or the customer has too many;
 * 3. count what it used, from the ledger;
 * 4. commit. Nothing is visible before. A crash right after: the caller repeats, and finds the key.
 */
async function createKey(
  pool: Pool,
  catalog: MeterCatalog,
  shardCount: number,
  definition: ApiKeyDefinition,
): Promise<ApiKeyCreation> {
  const { customerId } = definition;
  const seen = await readKey(pool, definition);
  if (seen !== undefined) return { kind: "exists", key: seen };
  return inTransaction(pool, async (client): Promise<ApiKeyCreation> => {
    const locked = await client.query(LOCK_SHARDS, [[shardOf(customerId, shardCount)]]); // 1
    if (locked.rowCount !== 1) throw new Error(`the shard of customer ${customerId} has no row`);
    const standing = await lockKey(client, definition);
    if (standing?.deleted_at === null) return { kind: "exists", key: toApiKey(standing) };
    const counted = await client.query<{ keys: number }>(COUNT, [customerId, KEYS_PER_CUSTOMER_MAX]);
    if ((counted.rows[0]?.keys ?? 0) >= KEYS_PER_CUSTOMER_MAX) return { kind: "too_many" };
    const result = await client.query<ApiKeyRow>(CREATE, columns(definition)); // 2
    await recountLocked(client, catalog, definition); // 3
    return { kind: "created", key: toApiKey(onlyRow(result.rows)) };
  }); // 4
}

async function readKey(pool: Pool, { customerId, apiKeyId }: KeyRef): Promise<ApiKey | undefined> {
  const [row] = (await pool.query<ApiKeyRow>(READ, [customerId, apiKeyId])).rows;
  return row === undefined || row.deleted_at !== null ? undefined : toApiKey(row);
}

async function lockKey(client: PoolClient, { customerId, apiKeyId }: KeyRef): Promise<ApiKeyRow | undefined> {
  return (await client.query<ApiKeyRow>(LOCK, [customerId, apiKeyId])).rows[0];
}

async function updateKey(client: PoolClient, key: KeyRef, change: ApiKeyChange): Promise<ApiKey | undefined> {
  const row = await lockKey(client, key);
  if (row === undefined || row.deleted_at !== null) return undefined;
  const standing = toApiKey(row);
  const wanted: ApiKeyDefinition = { ...definitionOf(standing), ...change };
  if (isEqual(definitionOf(standing), wanted)) return standing;
  return toApiKey(onlyRow((await client.query<ApiKeyRow>(UPDATE, columns(wanted))).rows));
}

function definitionOf(key: ApiKey): ApiKeyDefinition {
  const { createdMs: _c, updatedMs: _u, disabledMs: _d, ...definition } = key;
  return definition;
}

function isEqual(a: ApiKeyDefinition, b: ApiKeyDefinition): boolean {
  return JSON.stringify(columns(a)) === JSON.stringify(columns(b));
}

function columns(key: ApiKeyDefinition): unknown[] {
  const { customerId, apiKeyId, name, tier, tokensPerMinute, tokensPerDay, disabled } = key;
  const limits = [tokensPerMinute?.toString() ?? null, tokensPerDay?.toString() ?? null];
  return [customerId, apiKeyId, name, tier, ...limits, disabled];
}

function toApiKey(row: ApiKeyRow): ApiKey {
  return {
    customerId: row.customer_id,
    apiKeyId: row.api_key_id,
    name: row.name,
    tier: row.tier,
    tokensPerMinute: row.tokens_per_minute === null ? undefined : BigInt(row.tokens_per_minute),
    tokensPerDay: row.tokens_per_day === null ? undefined : BigInt(row.tokens_per_day),
    disabled: row.disabled_at !== null,
    createdMs: row.created_at.getTime(),
    updatedMs: row.updated_at.getTime(),
    disabledMs: row.disabled_at?.getTime(),
  };
}

function onlyRow(rows: readonly ApiKeyRow[]): ApiKeyRow {
  const [row] = rows;
  if (row === undefined) throw new Error("a key was written and gave no row");
  return row;
}
