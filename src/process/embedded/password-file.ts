// The password of a server of our own: made once, kept beside its data, readable by its owner alone.
import { randomBytes } from "node:crypto";
import { chownSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The password kept in <dir>/password, made when absent. Moved into place whole, so that a crash leaves none or all of it. */
export function ensurePassword(dir: string, owner?: { readonly uid: number; readonly gid: number }): string {
  const file = join(dir, "password");
  if (!existsSync(file)) {
    const staged = `${file}.new`;
    writeFileSync(staged, randomBytes(24).toString("base64url"), { mode: 0o600 });
    if (owner) chownSync(staged, owner.uid, owner.gid);
    renameSync(staged, file);
  }
  return readFileSync(file, "utf8").trim();
}
