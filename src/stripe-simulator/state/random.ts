// Chance and names. Everything random in the simulator comes from a seed, so that a run can be repeated.
import { hash } from "node:crypto";

/** A seeded source of numbers in [0, 1). */
export type RandomSource = () => number;

/** sfc32 over the seed's hash: fast, and the same everywhere. */
export function seededRandom(seed: string): RandomSource {
  const digest = Buffer.from(hash("sha256", seed, "hex"), "hex");
  let a = digest.readUInt32LE(0);
  let b = digest.readUInt32LE(4);
  let c = digest.readUInt32LE(8);
  let d = 1;
  return () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return (t >>> 0) / 4_294_967_296;
  };
}

/** 24 letters and digits that follow from `seed`. */
export function opaqueToken(seed: string): string {
  return hash("sha256", seed, "base64").replace(/[+/=]/g, "").slice(0, 24).padEnd(24, "0");
}
