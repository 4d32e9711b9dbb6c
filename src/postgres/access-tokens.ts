// Access tokens in the ledger's database.
import {
  ACCESS_TOKENS_MAX,
  type AccessToken,
  type AccessTokens,
  type CheckableToken,
  REVOCATION_KEPT_MS,
} from "../app/ports/access-tokens.ts";
import { CLOCKS_DIFFER_MS, type Scope } from "../domain/access.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";
import { reading, repeatable } from "./unavailable.ts";

const CREATE = sqlFile("access-token-create");
const READ = sqlFile("access-token-read");
const LIST = sqlFile("access-token-list");
const REVOKE = sqlFile("access-token-revoke");
const CHANGES = { name: "access-token-changes", text: sqlFile("access-token-changes") };
const USED = sqlFile("access-token-used");
const REVOKE_DASHBOARDS = sqlFile("dashboard-revoke");
const DASHBOARD_REVOCATIONS = { name: "dashboard-revocations", text: sqlFile("dashboard-revocations") };

interface AccessTokenRow {
  readonly token_id: string;
  readonly name: string;
  readonly secret_hash: Buffer;
  readonly scopes: readonly Scope[];
  readonly customers: readonly string[] | null;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly last_used_at: Date | null;
  readonly revoked_at: Date | null;
  readonly revision: string;
}

interface RevocationRow {
  readonly customer_id: string;
  readonly not_before: Date;
  readonly revision: string;
}

export function postgresAccessTokens(pool: Pool): AccessTokens {
  const rows = async (text: string, values: unknown[]) => (await pool.query<AccessTokenRow>(text, values)).rows;
  const read = async (tokenId: string) => (await rows(READ, [tokenId])).map(toAccessToken)[0];
  return {
    create: (tokenId, secretHash, { name, scopes, customers, expiresMs }) =>
      repeatable(async () => {
        const end = expiresMs === undefined ? null : new Date(expiresMs);
        const values = [tokenId, name, Buffer.from(secretHash), scopes, customers ?? null, end, ACCESS_TOKENS_MAX];
        return (await rows(CREATE, values)).map(toAccessToken)[0];
      }),
    get: (tokenId) => reading(() => read(tokenId)),
    list: ({ after, limit, live }) => reading(async () => (await rows(LIST, [after, limit, live])).map(toAccessToken)),
    revoke: (tokenId) =>
      repeatable(async () => {
        await pool.query(REVOKE, [tokenId]);
        return read(tokenId);
      }),
    changesSince: (revision, limit) =>
      reading(async () => {
        const changed = await pool.query<AccessTokenRow>({ ...CHANGES, values: [revision.toString(), limit] });
        return changed.rows.map(
          (row): CheckableToken => ({
            ...toAccessToken(row),
            secretHash: row.secret_hash,
            revision: BigInt(row.revision),
          }),
        );
      }),
    revokeDashboards: (customerId) =>
      repeatable(async () => {
        const values = [customerId, CLOCKS_DIFFER_MS, REVOCATION_KEPT_MS];
        const [row] = (await pool.query<Pick<RevocationRow, "not_before">>(REVOKE_DASHBOARDS, values)).rows;
        if (row === undefined) throw new Error("a revocation was not written");
        return row.not_before.getTime();
      }),
    dashboardRevocationsSince: (revision, limit) =>
      reading(async () => {
        const values = [revision.toString(), limit];
        const { rows } = await pool.query<RevocationRow>({ ...DASHBOARD_REVOCATIONS, values });
        return rows.map((row) => ({
          customerId: row.customer_id,
          notBeforeMs: row.not_before.getTime(),
          revision: BigInt(row.revision),
        }));
      }),
    markUsed: (uses) =>
      repeatable(async () => {
        const inOrder = [...uses].sort(([a], [b]) => (a < b ? -1 : 1));
        await pool.query(USED, [inOrder.map(([id]) => id), inOrder.map(([, usedMs]) => new Date(usedMs))]);
      }),
  };
}

function toAccessToken(row: AccessTokenRow): AccessToken {
  return {
    tokenId: row.token_id,
    name: row.name,
    scopes: row.scopes,
    customers: row.customers ?? undefined,
    createdMs: row.created_at.getTime(),
    expiresMs: row.expires_at?.getTime(),
    lastUsedMs: row.last_used_at?.getTime(),
    revokedMs: row.revoked_at?.getTime(),
  };
}
