"""Records, reads and streams usage: a whole client of the metering service, on stubs made by grpcio-tools.

usage: client.py <host:port> [authorities.pem]
With authorities it speaks TLS, and shows the token in METERING_TOKEN where there is one. Prints one JSON object a step.
"""

import json
import os
import random
import sys
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from metering.v1 import metering_service_pb2 as api
from metering.v1 import metering_service_pb2_grpc as stubs
from metering.v1 import usage_pb2 as usage

RETRIABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}


def details(error, kind):
    """The error's detail message of this kind, or None."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(kind.DESCRIPTOR):
                    found = kind()
                    detail.Unpack(found)
                    return found
    return None


def record(stub, usage_record, give_up_after=60.0):
    """Records one fact, exactly once: every attempt carries the same idempotency key."""
    started, failures = time.monotonic(), 0
    while True:
        try:
            return stub.RecordUsage(api.RecordUsageRequest(record=usage_record), timeout=5)
        except grpc.RpcError as error:
            retry = details(error, error_details_pb2.RetryInfo)
            full = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and retry is not None
            if not (full or error.code() in RETRIABLE) or time.monotonic() - started > give_up_after:
                raise
            failures += 1
            wait = min(0.05 * 2**failures, 1.0) * random.uniform(0.5, 1.0)
            time.sleep(max(wait, retry.retry_delay.ToTimedelta().total_seconds() if retry else 0.0))


def model_call(key, input_tokens, output_tokens):
    """The usage of one call of a model, now."""
    fact = usage.UsageRecord(idempotency_key=key, customer_id="python", api_key_id="key_1", model="openai/gpt-5")
    fact.event_time.GetCurrentTime()
    fact.measurements.add(meter="input_tokens", quantity=input_tokens)
    fact.measurements.add(meter="output_tokens", quantity=output_tokens)
    return fact


def show(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


def connect(target, authorities):
    """A channel. A token goes with TLS alone: grpc sends call credentials over nothing else."""
    if authorities is None:
        return grpc.insecure_channel(target)
    with open(authorities, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    token = os.environ.get("METERING_TOKEN")
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(target, credentials)


def main(target, authorities=None):
    with connect(target, authorities) as channel:
        stub = stubs.MeteringServiceStub(channel)

        fact = model_call("call-1", 1200, 350)
        for _ in range(2):
            answer = record(stub, fact)
            show("record", outcome=api.RecordOutcome.Name(answer.outcome))

        read = stub.GetUsage(
            api.GetUsageRequest(customer_id="python", consistency_token=answer.consistency_token), timeout=5
        )
        show("read", tokens_used=read.tokens_used, totals={total.meter: total.quantity for total in read.totals})

        stream = stub.StreamUsage(api.StreamUsageRequest(customer_id="python"), timeout=30)
        for event in stream:
            kind = event.WhichOneof("event")
            if kind == "heartbeat":
                continue
            totals = {total.meter: total.quantity for total in getattr(event, kind).totals}
            show("stream", kind=kind, totals=totals)
            if kind == "snapshot":
                record(stub, model_call("call-2", 100, 0))
            if totals.get("input_tokens") == 1300:
                stream.cancel()
                break

        try:
            record(stub, usage.UsageRecord(customer_id="python"))
        except grpc.RpcError as error:
            violations = details(error, error_details_pb2.BadRequest).field_violations
            show("refused", code=error.code().name, fields=[violation.field for violation in violations])


if __name__ == "__main__":
    main(*sys.argv[1:])
