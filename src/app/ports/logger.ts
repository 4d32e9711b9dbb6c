/** Structured log, as pino takes it: fields first, then one plain sentence. Ids, never payloads; a failure goes under `err`. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
