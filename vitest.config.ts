import { defineConfig } from "vitest/config";

/** Set to 1 to leave out, by name, the tests that need root and a real Incus. */
const withoutIncus = process.env["TAOS_TEST_WITHOUT_INCUS"] === "1";

const shared = {
  pool: "forks" as const,
  // Each worker of the second kind runs a private daemon with containers: more would starve each other.
  maxWorkers: 2,
};

const unit = {
  test: {
    ...shared,
    name: "unit",
    include: ["test/**/*.test.ts"],
    exclude: ["test/**/*.incus.test.ts"],
    testTimeout: 20_000,
  },
};

const incus = {
  test: {
    ...shared,
    name: "incus",
    include: ["test/**/*.incus.test.ts"],
    globalSetup: ["test/testbed/requirements.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
};

if (withoutIncus)
  process.stderr.write('TAOS_TEST_WITHOUT_INCUS=1: skipping the project "incus" (test/**/*.incus.test.ts)\n');

export default defineConfig({
  test: { projects: withoutIncus ? [unit] : [unit, incus], teardownTimeout: 60_000 },
});
