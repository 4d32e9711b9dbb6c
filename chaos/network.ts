// The network between the processes: a proxy in front of each API and of the webhooks, and one for each process and store behind it.
import type { Ports } from "./ports.ts";
import { FaultyProxy } from "./proxy.ts";
import { type LinkName, SERVICES, type ServiceName } from "./timeline.ts";

/** What each process of the service connects to. */
export const STORES = ["redis", "postgres", "stripe"] as const;
export type StoreName = (typeof STORES)[number];
/** Where the stores are, as the service's settings name them. */
export type StoreUrls = Readonly<Record<StoreName, URL>>;

/** What a process of the service listens on, by the setting's name. */
export type ServicePorts = ReadonlyMap<ServiceName, Readonly<Record<string, string>>>;

export class Network {
  readonly #front: ReadonlyMap<LinkName, FaultyProxy>;
  readonly #behind: ReadonlyMap<ServiceName, ReadonlyMap<StoreName, FaultyProxy>>;
  readonly #stores: StoreUrls;

  private constructor(
    front: ReadonlyMap<LinkName, FaultyProxy>,
    behind: ReadonlyMap<ServiceName, ReadonlyMap<StoreName, FaultyProxy>>,
    stores: StoreUrls,
  ) {
    this.#front = front;
    this.#behind = behind;
    this.#stores = stores;
  }

  static async build(ports: Ports, services: ServicePorts, stores: StoreUrls): Promise<Network> {
    const before = (service: ServiceName, setting: string) => {
      const target = Number(services.get(service)?.[setting]);
      return ports.take().then((port) => FaultyProxy.start(port, target));
    };
    const front = new Map<LinkName, FaultyProxy>();
    for (const api of ["api-1", "api-2"] as const) front.set(api, await before(api, "GRPC_PORT"));
    front.set("webhooks", await before("webhooks", "WEBHOOK_PORT"));
    const behind = new Map<ServiceName, ReadonlyMap<StoreName, FaultyProxy>>();
    for (const service of SERVICES) {
      const proxies = new Map<StoreName, FaultyProxy>();
      for (const store of STORES)
        proxies.set(store, await FaultyProxy.start(await ports.take(), Number(stores[store].port)));
      behind.set(service, proxies);
    }
    return new Network(front, behind, stores);
  }

  /** All proxies of a link: one in front of an API or the webhooks, one a process in front of a store or Stripe. */
  link(name: LinkName): readonly FaultyProxy[] {
    const own = this.#front.get(name);
    if (own !== undefined) return [own];
    return [...this.#behind.values()].flatMap((proxies) => proxies.get(name as StoreName) ?? []);
  }

  /** The one between a process and what it connects to. */
  linkOf(service: ServiceName, store: StoreName): FaultyProxy {
    const proxy = this.#behind.get(service)?.get(store);
    if (proxy === undefined) throw new Error(`${service} does not connect to ${store}`);
    return proxy;
  }

  /** Where a process of the service finds the stores. */
  storesOf(service: ServiceName): StoreUrls {
    const through = (store: StoreName) => {
      const url = new URL(this.#stores[store]);
      url.port = String(this.linkOf(service, store).port);
      return url;
    };
    return { redis: through("redis"), postgres: through("postgres"), stripe: through("stripe") };
  }

  /** host:port at which others reach a process. */
  address(name: "api-1" | "api-2" | "webhooks"): string {
    return `127.0.0.1:${this.#front.get(name)?.port}`;
  }

  async close(): Promise<void> {
    const behind = [...this.#behind.values()].flatMap((proxies) => [...proxies.values()]);
    await Promise.all([...this.#front.values(), ...behind].map((proxy) => proxy.close()));
  }
}
