// The manifests: kustomize builds them, they fit the schemas of Kubernetes, and what they start is what the program knows.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, type TestContext, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { SETTINGS } from "../../src/process/config/settings.ts";
import { ROLES } from "../../src/process/service.ts";
import { ROOT, requireTool, runTool, type Tool } from "../clients/tools.ts";
import { runCommand } from "../support/command.ts";
import { findKubernetesValidate, findKustomize } from "./tools.ts";

const FOLDER = join(ROOT, "deploy/kubernetes");

/** The settings set none, so these are what the program listens on. */
const DEFAULT_PORTS: Readonly<Record<string, number>> = {
  grpc: SETTINGS.grpcPort.fallback,
  http: SETTINGS.httpPort.fallback,
  webhooks: SETTINGS.webhookPort.fallback,
  ops: SETTINGS.opsPort.fallback,
};

type Text = Readonly<Record<string, string>>;
interface Container {
  readonly args: readonly string[];
  readonly env?: unknown;
  readonly envFrom: readonly { readonly configMapRef?: { name: string }; readonly secretRef?: { name: string } }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly readinessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
  readonly livenessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
  readonly resources: { readonly requests: Text; readonly limits: Text };
  readonly securityContext: object;
}
interface Pod {
  readonly metadata: { readonly labels: Text };
  readonly spec: {
    readonly enableServiceLinks: boolean;
    readonly terminationGracePeriodSeconds?: number;
    readonly securityContext: object;
    readonly containers: readonly Container[];
  };
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Text;
  readonly stringData?: Text;
  readonly spec?: {
    readonly replicas?: number;
    readonly minAvailable?: number;
    readonly template?: Pod;
    readonly selector?: Text & { readonly matchLabels?: Text };
    readonly ports?: readonly { readonly targetPort: string }[];
  };
}

let kustomize: Awaited<ReturnType<typeof findKustomize>>;
let validate: Tool;
beforeAll(async () => {
  kustomize = await findKustomize();
  validate = await findKubernetesValidate();
}, 600_000);

const secretsFile = join(FOLDER, "secrets.example.yaml");
const secrets = parse(readFileSync(secretsFile, "utf8")) as Manifest;

async function build(context: TestContext): Promise<{ text: string; manifests: readonly Manifest[] }> {
  const built = await runTool(requireTool(kustomize.tool, context), [...kustomize.args, FOLDER]);
  expect(built.stderr).toBe("");
  const text = built.stdout.toString();
  return { text, manifests: parseAllDocuments(text).map((document) => document.toJS() as Manifest) };
}

const podsOf = (manifests: readonly Manifest[]) =>
  manifests.flatMap(({ kind, metadata, spec }) =>
    spec?.template ? [{ kind, name: metadata.name, pod: spec.template }] : [],
  );

test("they fit the schemas", async (context) => {
  const { text } = await build(context);
  const folder = mkdtempSync(join(tmpdir(), "kubernetes-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "built.yaml"), text);
  const files = [join(folder, "built.yaml"), secretsFile];
  const { exitCode, stdout, stderr } = await runTool(requireTool(validate, context), ["--strict", ...files]);
  expect({ exitCode, output: `${stdout}${stderr}` }).toEqual({
    exitCode: 0,
    output: expect.stringContaining("passed"),
  });
});

test("the environment of each is one that the program takes, and each starts roles that there are", {
  timeout: 120_000,
}, async (context) => {
  const { manifests } = await build(context);
  const pods = podsOf(manifests);
  const started = pods.flatMap(({ pod }) => pod.spec.containers.map(({ args }) => args.join(" ")));
  expect(started.sort()).toEqual(["migrate", ...ROLES.map((role) => `serve --roles ${role}`)].sort());
  const settings = manifests.find(
    ({ kind, metadata }) => kind === "ConfigMap" && metadata.name.startsWith("metering-settings-"),
  );
  const environment = { ...settings?.data, ...secrets.stringData };
  for (const { pod } of pods)
    for (const { env, envFrom } of pod.spec.containers) {
      expect(env).toBeUndefined();
      expect(envFrom).toEqual([
        { configMapRef: { name: settings?.metadata.name } },
        { secretRef: { name: secrets.metadata.name } },
      ]);
    }
  const { exitCode, stderr } = await runCommand(["check-config"], environment);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const described = await runCommand(["check-config", "--help"], {});
  for (const name of Object.keys(environment)) expect(described.stdout).toContain(name);
});

test("pods may do nothing that they need not, and are told to go before they are killed", async (context) => {
  const { manifests } = await build(context);
  for (const { kind, name, pod } of podsOf(manifests)) {
    // Else Kubernetes adds METERING_..._PORT for every Service, and the program refuses names that it does not know.
    expect(pod.spec.enableServiceLinks, name).toBe(false);
    expect(pod.spec.securityContext, name).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: "RuntimeDefault" },
    });
    for (const container of pod.spec.containers) {
      expect(container.securityContext, name).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(Object.keys(container.resources.requests).sort(), name).toEqual(["cpu", "memory"]);
      expect(container.resources.limits["memory"], name).toBeTruthy();
      if (kind !== "Deployment") continue;
      expect(pod.spec.terminationGracePeriodSeconds).toBeGreaterThan(25);
      expect(container.readinessProbe?.httpGet).toEqual({ path: "/readyz", port: "ops" });
      expect(container.livenessProbe?.httpGet).toEqual({ path: "/livez", port: "ops" });
      for (const { name: port, containerPort } of container.ports ?? [])
        expect(containerPort, `${name} ${port}`).toBe(DEFAULT_PORTS[port]);
    }
  }
});

test("each deployment has a disruption budget under its replicas, and services lead to ports that there are", async (context) => {
  const { manifests } = await build(context);
  const deployments = manifests.filter(({ kind }) => kind === "Deployment");
  expect(deployments).toHaveLength(ROLES.length);
  for (const { metadata, spec } of deployments) {
    const budget = manifests.find(
      ({ kind, metadata: of }) => kind === "PodDisruptionBudget" && of.name === metadata.name,
    );
    expect(budget?.spec?.selector?.matchLabels).toEqual(spec?.selector?.matchLabels);
    expect(budget?.spec?.minAvailable).toBeLessThan(spec?.replicas ?? 0);
    expect(spec?.template?.metadata.labels).toMatchObject(spec?.selector?.matchLabels ?? {});
  }
  const services = manifests.filter(({ kind }) => kind === "Service");
  expect(services).toHaveLength(3);
  for (const { metadata, spec } of services) {
    const selector = Object.entries(spec?.selector ?? {});
    const behind = deployments.filter(({ spec: of }) =>
      selector.every(([label, value]) => of?.template?.metadata.labels[label] === value),
    );
    expect(behind, metadata.name).toHaveLength(1);
    const ports = behind.flatMap(({ spec: of }) => of?.template?.spec.containers.flatMap((c) => c.ports ?? []) ?? []);
    for (const { targetPort } of spec?.ports ?? []) expect(ports.map(({ name }) => name)).toContain(targetPort);
  }
});
