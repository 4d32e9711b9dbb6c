// What a Redis server says of its own memory and disk.
import type { Redis } from "ioredis";

export interface RedisSigns {
  readonly memoryBytes: number;
  /** Past it writes are refused, since nothing may be evicted. Undefined where no limit is set: then the machine's memory is the limit. */
  readonly memoryMaxBytes: number | undefined;
  /** Size of the append-only file; undefined where there is none. */
  readonly appendOnlyFileBytes: number | undefined;
  /** Whether the last write to the append-only file and its last rewrite went well: a full disk shows here first. */
  readonly persistenceOk: boolean;
}

/** One round trip. Rejects when Redis is away, or refuses INFO. */
export async function readRedisSigns(client: Redis): Promise<RedisSigns> {
  const [memory, persistence] = await Promise.all([client.info("memory"), client.info("persistence")]);
  const fields = new Map(`${memory}\n${persistence}`.split(/\r?\n/).map((line) => splitAtColon(line)));
  const number = (name: string) => Number(fields.get(name) ?? "0");
  const isOk = (name: string) => (fields.get(name) ?? "ok") === "ok";
  const maxBytes = number("maxmemory");
  return {
    memoryBytes: number("used_memory"),
    memoryMaxBytes: maxBytes === 0 ? undefined : maxBytes,
    appendOnlyFileBytes: fields.get("aof_enabled") === "1" ? number("aof_current_size") : undefined,
    persistenceOk: isOk("aof_last_write_status") && isOk("aof_last_bgrewrite_status"),
  };
}

function splitAtColon(line: string): [name: string, value: string] {
  const at = line.indexOf(":");
  return at < 0 ? ["", ""] : [line.slice(0, at), line.slice(at + 1)];
}
