// Counts in an answer the records that the service says it stored, without building the message.
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { RecordOutcome } from "../gen/metering/v1/metering_service_pb.ts";

/** RecordUsageResponse.outcome, BatchRecordUsageResponse.results and Result.response are each field 1 of their message. */
const FIELD = 1;

/** Whether an outcome is as good as stored by this call. */
export type IsStored = (outcome: number | undefined) => boolean;

/** Of a call sent for the first time: its keys are new, so nobody can have stored it before. */
export const storedAtFirst: IsStored = (outcome) => outcome === RecordOutcome.RECORDED;
/** Of a call sent again: an attempt whose answer was lost may have stored it. */
export const storedAtLast: IsStored = (outcome) => storedAtFirst(outcome) || outcome === RecordOutcome.DUPLICATE;

/** 1 where a RecordUsageResponse says that the record is stored, else 0. */
export function storedInAnswer(message: Uint8Array, isStored: IsStored): number {
  return isStored(outcomeOf(new BinaryReader(message), message.length)) ? 1 : 0;
}

/** How many items of a BatchRecordUsageResponse are stored. */
export function storedInBatchAnswer(message: Uint8Array, isStored: IsStored): number {
  const reader = new BinaryReader(message);
  let stored = 0;
  eachMessage(reader, message.length, (resultEnd) => {
    eachMessage(reader, resultEnd, (responseEnd) => {
      if (isStored(outcomeOf(reader, responseEnd))) stored += 1;
    });
  });
  return stored;
}

/** Calls `read` at every submessage in FIELD, with where it ends; it must read that far. */
function eachMessage(reader: BinaryReader, end: number, read: (end: number) => void): void {
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    if (field !== FIELD) reader.skip(wireType);
    else {
      const length = reader.uint32();
      read(reader.pos + length);
    }
  }
}

function outcomeOf(reader: BinaryReader, end: number): number | undefined {
  let outcome: number | undefined;
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    if (field === FIELD) outcome = reader.int32();
    else reader.skip(wireType);
  }
  return outcome;
}
