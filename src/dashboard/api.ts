// The service, as the page calls it: Connect over the page's own origin.
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { OperationsService } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import { MeteringService } from "../../gen/metering/v1/metering_service_pb.ts";

export interface Api {
  readonly metering: Client<typeof MeteringService>;
  readonly operations: Client<typeof OperationsService>;
}

/** What the server says of itself, see process/page.ts. */
export interface PageFacts {
  readonly stripeSimulated: boolean;
  /** Meters that add up to tokens. */
  readonly tokenMeters: readonly string[];
}

/** Clients that show `token` with every call; undefined where the service is open. */
export function openApi(token: string | undefined): Api {
  const authorize: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: location.origin,
    interceptors: [authorize],
    useBinaryFormat: true,
  });
  return { metering: createClient(MeteringService, transport), operations: createClient(OperationsService, transport) };
}

/** Rejects when the server cannot be reached. */
export async function readPageFacts(): Promise<PageFacts> {
  const answer = await fetch("./page.json");
  if (!answer.ok) throw new Error(`page.json: ${answer.status}`);
  return (await answer.json()) as PageFacts;
}
