// What `metering dev` tells of who may call it.
import { expect, test } from "vitest";
import { parseConfig } from "../../../src/process/config/parse-config.ts";
import { devBanner } from "../../../src/process/dev-banner.ts";

function accessLine(environment: Record<string, string>): string {
  const config = parseConfig(environment);
  const addresses = { grpcPort: 1, httpPort: 2, webhookPort: 3, opsPort: 4 };
  const stores = { postgres: "embedded", intake: "Postgres", simulatorUrl: "http://127.0.0.1:5", customerId: "acme" };
  return /^ {2}Access +(.*)$/m.exec(devBanner({ config, addresses, ...stores }))?.[1] ?? "";
}

test.each([
  [{ METERING_ADMIN_API: "true" }, /^OPEN, no credentials: .* record, read and void any .*loopback only/],
  [{}, /^OPEN, no credentials: .* record and read any .*loopback only/],
  [
    { METERING_HOST: "0.0.0.0", METERING_ALLOW_UNAUTHENTICATED: "true" },
    /^OPEN, no credentials: .* other machines may reach them too/,
  ],
  [{ METERING_AUTH: "tokens" }, /^callers show a token/],
])("with %o", (environment, said) => {
  expect(accessLine(environment)).toMatch(said);
});

test("calls to paste bring a token where one is asked for, and say how to get it", () => {
  const banner = (environment: Record<string, string>) => {
    const addresses = { grpcPort: 1, httpPort: 2, webhookPort: 3, opsPort: 4 };
    const stores = { postgres: "embedded", intake: "Postgres", simulatorUrl: "http://127.0.0.1:5", customerId: "acme" };
    return devBanner({ config: parseConfig(environment), addresses, ...stores });
  };
  const closed = banner({ METERING_AUTH: "tokens" });
  expect(closed).toContain("TOKEN=$(npx metering tokens create try --scopes record,read --all-customers | head -1)");
  expect(closed.match(/curl -s \S+ -H "authorization: Bearer \$TOKEN"/g)).toHaveLength(2);
  expect(closed).toContain("metering tokens dashboard --all-customers");
  expect(banner({})).not.toContain("TOKEN");
});
