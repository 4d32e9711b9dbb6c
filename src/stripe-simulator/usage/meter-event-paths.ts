/** The one route that takes a session's token, and no secret key. */
export const STREAM_PATH = "/v2/billing/meter_event_stream";

/** Where single meter events are sent. */
export const METER_EVENT_PATHS: readonly string[] = ["/v1/billing/meter_events", "/v2/billing/meter_events"];
