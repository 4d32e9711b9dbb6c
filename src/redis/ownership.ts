// Which deployment a Redis belongs to. Two deployments on one Redis would drain each other's records.
import type { Redis } from "ioredis";
import { ownerKey } from "./keys.ts";

/**
 * Marks the store as this deployment's, or throws where it is another's. A store that came back empty is marked anew.
 * Two round trips.
 */
export async function claimStore(client: Redis, deploymentId: string): Promise<void> {
  await client.setnx(ownerKey(), deploymentId);
  const owner = await client.get(ownerKey());
  if (owner === deploymentId || owner === null) return;
  throw new ForeignStoreError(
    `this Redis belongs to another deployment (${owner}; ours is ${deploymentId}): give each its own, or its own database number`,
  );
}

/** The store is another deployment's. The message says what to do. */
export class ForeignStoreError extends Error {
  override readonly name = "ForeignStoreError";
}
