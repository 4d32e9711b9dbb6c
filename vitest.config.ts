import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // Real servers on shared cores: generous, and never the thing that a test asserts on.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 2,
    retry: 0,
    // Node itself loads the sources, as in production.
    experimental: { viteModuleRunner: false },
    projects: [
      {
        extends: true,
        test: {
          name: "tests",
          include: ["test/**/*.test.ts"],
          exclude: ["test/chaos/**"],
          globalSetup: ["test/support/stores.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "chaos",
          include: ["test/chaos/**/*.test.ts"],
          // A whole deployment, which takes the machine for itself: after all others.
          sequence: { groupOrder: 1 },
          maxWorkers: 1,
        },
      },
    ],
  },
});
