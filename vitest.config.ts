import { defineConfig } from "vitest/config";

/** Set to 1 to leave out, by name, the tests that need root and a real Incus. */
const withoutIncus = process.env["TAOS_TEST_WITHOUT_INCUS"] === "1";

const incus = {
  test: {
    name: "incus",
    include: ["test/**/*.incus.test.ts"],
    globalSetup: ["test/testbed/requirements.ts"],
    pool: "forks" as const,
    // A private daemon and its containers each; more would starve each other on two cores.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
  },
};

const unit = {
  test: {
    name: "unit",
    include: ["test/**/*.test.ts"],
    exclude: ["test/**/*.incus.test.ts"],
    pool: "forks" as const,
    testTimeout: 20_000,
  },
};

if (withoutIncus)
  process.stderr.write('TAOS_TEST_WITHOUT_INCUS=1: skipping the project "incus" (test/**/*.incus.test.ts)\n');

export default defineConfig({
  test: { projects: withoutIncus ? [unit] : [unit, incus], passWithNoTests: false },
});
