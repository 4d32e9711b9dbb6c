// Who the rows of a trace are counted for: drawn from a seed, so that the same seed gives the same spread.

/** The owner of one row. */
export interface Owner {
  /** 0..customers - 1; 0 has most rows. */
  readonly customer: number;
  readonly apiKeyId: string;
  readonly model: string;
}

const MODELS = ["openai/gpt-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4", "meta/llama-3.3-70b"];
const API_KEYS = ["key_backend", "key_batch", "key_notebook"];

/**
 * An endless sequence of owners. Customers follow Zipf's law: the k-th has 1/k of the first one's rows; models and API keys likewise, so that
 * no split is even.
 */
export function* spreadOwners(customers: number, seed: number): Generator<Owner, never> {
  const random = randomFrom(seed);
  const drawCustomer = zipf(customers);
  const drawModel = zipf(MODELS.length);
  const drawApiKey = zipf(API_KEYS.length);
  while (true) {
    const customer = drawCustomer(random());
    yield {
      customer,
      apiKeyId: API_KEYS[drawApiKey(random())] ?? "",
      model: MODELS[drawModel(random())] ?? "",
    };
  }
}

/** Maps 0 <= u < 1 to a rank below `size`, rank k having the weight 1 / (k + 1). */
function zipf(size: number): (u: number) => number {
  let total = 0;
  const cumulated = Float64Array.from({ length: size }, (_, rank) => {
    total += 1 / (rank + 1);
    return total;
  });
  return (u) => {
    const wanted = u * total;
    let low = 0;
    let high = size - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((cumulated[middle] ?? total) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

/** mulberry32: small, fast, the same on every machine. 0 <= next() < 1. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
