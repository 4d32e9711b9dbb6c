// What v2 has of its own: JSON both ways, RFC 3339 times, another shape of errors, lists that lead on by their URL.
import { z } from "zod";

/** Whether a path is of the v2 API. */
export function isV2(path: string): boolean {
  return path.startsWith("/v2/");
}

/** Milliseconds as v2 writes them: `2026-01-01T00:00:00.000Z`. */
export function toRfc3339(ms: number): string {
  return new Date(ms).toISOString();
}

const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/** A time as v2 reads it, to milliseconds; a number, or a text of another format, does not fit. */
export function instant() {
  return z.string().transform((value, context) => {
    const ms = RFC_3339.test(value) ? Date.parse(value) : Number.NaN;
    if (Number.isFinite(ms)) return ms;
    context.addIssue({ code: "custom", message: `Invalid timestamp: ${value}. Expected an RFC 3339 date-time.` });
    return z.NEVER;
  });
}

const PAGE_SIZE = 20;
const PAGE_SIZE_MAX = 100;

/** A v2 list. Its URLs are whole: they carry the filters along. */
export interface V2List<T> {
  readonly data: readonly T[];
  readonly next_page_url: string | null;
  readonly previous_page_url: string | null;
}

/** `limit` and `page` of every v2 list. `page` is a position, which only the list's own URLs name. */
export const v2PagingShape = {
  limit: z.coerce.number().int().min(1).max(PAGE_SIZE_MAX).optional(),
  page: z.coerce.number().int().min(0).optional(),
};

/** Cuts one page out of `items`, which stand in answer order. `filters` is what the URLs must repeat, as a query string. */
export function v2PageOf<T>(
  items: readonly T[],
  paging: { readonly limit?: number | undefined; readonly page?: number | undefined },
  path: string,
  filters: string,
): V2List<T> {
  const { limit = PAGE_SIZE, page: start = 0 } = paging;
  const urlOf = (at: number) => `${path}?limit=${limit}&page=${at}${filters === "" ? "" : `&${filters}`}`;
  return {
    data: items.slice(start, start + limit),
    next_page_url: start + limit < items.length ? urlOf(start + limit) : null,
    previous_page_url: start > 0 ? urlOf(Math.max(0, start - limit)) : null,
  };
}

/** A body as it is sent to v2: JSON, or nothing for no parameters. Undefined when it is no JSON. */
export function decodeJson(body: string): unknown {
  try {
    return body === "" ? {} : JSON.parse(body);
  } catch {
    return undefined;
  }
}
