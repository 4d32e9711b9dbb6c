/** Why an event is refused after it was taken: Stripe's codes of asynchronous validation, as stripe@23.1.0 lists them. */
export const ERROR_CODES = [
  "archived_meter",
  "meter_event_customer_not_found",
  "meter_event_dimension_count_too_high",
  "meter_event_invalid_value",
  "meter_event_no_customer_defined",
  "meter_event_value_too_many_digits",
  "missing_dimension_payload_keys",
  "no_meter",
  "timestamp_in_future",
  "timestamp_too_far_in_past",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];
