import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/stores.ts"],
    // Real servers on shared cores: generous, and never the thing that a test asserts on.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 2,
    retry: 0,
    // Node itself loads the sources, as in production.
    experimental: { viteModuleRunner: false },
  },
});
