// What every RPC asks of its caller, in one table. A new RPC needs a row: without one it does not compile, and a test fails.
import type { DescMethod, Message, MessageShape } from "@bufbuild/protobuf";
import { AdminService } from "../../gen/metering/admin/v1/admin_service_pb.ts";
import { KeyService } from "../../gen/metering/admin/v1/key_service_pb.ts";
import { OperationsService } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import {
  type CreateDashboardTokenRequest,
  type RevokeDashboardTokensRequest,
  TokenService,
} from "../../gen/metering/admin/v1/token_service_pb.ts";
import { MeteringService } from "../../gen/metering/v1/metering_service_pb.ts";
import { type Caller, mayActFor, type Permission } from "../domain/access.ts";
import { MeteringError } from "../domain/errors.ts";
import type { RpcName } from "./edge.ts";

export interface RpcRule {
  readonly method: DescMethod;
  /** The caller needs one of these. */
  readonly anyOf: readonly Permission[];
  /** Whom the request is about; empty: all customers. Undefined: its handler looks at each item. */
  readonly customerOf: (request: Message) => string | undefined;
}

const { method: metering } = MeteringService;
const { method: admin } = AdminService;
const { method: keys } = KeyService;
const { method: tokens } = TokenService;
const { method: operations } = OperationsService;

/** Not about any one customer. */
const ALL = () => "";

export const RPC_RULES: { readonly [Name in RpcName]: RpcRule } = {
  RecordUsage: rule(metering.recordUsage, ["record"], (r) => r.record?.customerId ?? ""),
  BatchRecordUsage: rule(metering.batchRecordUsage, ["record"], () => undefined),
  GetUsage: rule(metering.getUsage, ["read"], (r) => r.customerId),
  CheckLimits: rule(metering.checkLimits, ["record", "read"], (r) => r.customerId),
  StreamUsage: rule(metering.streamUsage, ["read"], (r) => r.customerId),
  VoidRecord: rule(admin.voidRecord, ["admin"], (r) => r.customerId),
  CreateKey: rule(keys.createKey, ["admin"], (r) => r.key?.customerId ?? ""),
  GetKey: rule(keys.getKey, ["admin"], (r) => r.customerId),
  ListKeys: rule(keys.listKeys, ["admin"], (r) => r.customerId),
  UpdateKey: rule(keys.updateKey, ["admin"], (r) => r.key?.customerId ?? ""),
  DeleteKey: rule(keys.deleteKey, ["admin"], (r) => r.customerId),
  GetOverview: rule(operations.getOverview, ["admin", "overview"], ALL),
  // A caller that is kept to some customers could else make itself a token for the others.
  CreateToken: rule(tokens.createToken, ["admin"], ALL),
  ListTokens: rule(tokens.listTokens, ["admin"], ALL),
  RevokeToken: rule(tokens.revokeToken, ["admin"], ALL),
  CreateDashboardToken: rule(tokens.createDashboardToken, ["admin"], customerOfSubject),
  RevokeDashboardTokens: rule(tokens.revokeDashboardTokens, ["admin"], customerOfSubject),
};

/** Throws `scope_missing`. Needs no request: it comes before the request is read. */
export function requireScope(rpc: RpcName, caller: Caller): void {
  const { anyOf } = RPC_RULES[rpc];
  if (anyOf.some((permission) => caller.permissions.has(permission))) return;
  const scope = anyOf.filter((permission) => permission !== "overview").join(",");
  throw new MeteringError({ kind: "scope_missing", scope }, `${rpc} needs the scope ${scope.replace(",", " or ")}`);
}

/** Throws `customer_not_allowed`, before anything else of the request is looked at. */
export function requireCustomer(rpc: RpcName, caller: Caller, request: Message): void {
  if (caller.customers === "all") return;
  const customerId = RPC_RULES[rpc].customerOf(request);
  if (customerId !== undefined && !mayActFor(caller, customerId)) throw customerNotAllowed();
}

/** The same whether the customer exists or not. */
export function customerNotAllowed(): MeteringError {
  return new MeteringError({ kind: "customer_not_allowed" }, "the caller may not act for this customer");
}

function customerOfSubject({
  subject,
}: Pick<CreateDashboardTokenRequest | RevokeDashboardTokensRequest, "subject">): string {
  return subject.case === "customerId" ? subject.value : "";
}

function rule<Method extends DescMethod>(
  method: Method,
  anyOf: readonly Permission[],
  customerOf: (request: MessageShape<Method["input"]>) => string | undefined,
): RpcRule {
  return { method, anyOf, customerOf: (request) => customerOf(request as MessageShape<Method["input"]>) };
}
