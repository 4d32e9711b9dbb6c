// Failures that an operator can act on: shown as one line, without a stack.

/** The message says what is wrong and what to do. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";
}

/** By name, so that saying what went wrong needs no room to be loaded. All carry messages for operators. */
const OPERATOR_ERRORS = new Set([
  "OperatorError",
  "ConfigError",
  "SchemaError",
  "DeploymentError",
  "ForeignStoreError",
  "StripeCallError",
  "DataFileError",
]);

/** System and Postgres codes of "there, but not for us": the message alone says enough. */
const UNREACHABLE = new Map([
  ["ECONNREFUSED", "cannot be reached"],
  ["ENOTFOUND", "cannot be found"],
  ["EAI_AGAIN", "cannot be found"],
  ["ETIMEDOUT", "does not answer"],
  ["28P01", "refuses the password"],
  ["28000", "refuses the user"],
  ["3D000", "has no such database"],
]);

/** What to print for a failed command: a line where it is an operator's matter, else the whole stack, since it is a bug. */
export function describeFailure(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  if (OPERATOR_ERRORS.has(cause.name)) return cause.message;
  const code = "code" in cause ? String(cause.code) : "";
  const why = UNREACHABLE.get(code);
  if (why !== undefined) return `a store ${why}: ${cause.message || code}`;
  return cause.stack ?? cause.message;
}
