import { afterEach, expect, it } from "vitest";
import { createStack, errorsOf, type TestStack } from "./stack.ts";

let stack: TestStack | undefined;
afterEach(() => stack?.remove());

it("a preview with errors shows all of it and fails; an up goes on to its update all the same", {
  timeout: 120_000,
}, async () => {
  const away = (name: string) => ({ connection: `unix:/nonexistent/${name}.socket` });
  stack = await createStack({ name: "errors", hosts: { orange: away("orange"), plum: away("plum") } });
  const preview = await stack.preview();
  expect(preview.exitCode).not.toBe(0);
  expect(errorsOf(preview)).toMatch(
    /^Host "orange" cannot be reached.*"plum" cannot be reached.*2 errors, as said above/s,
  );
  expect(preview.steps.filter(({ name }) => name.startsWith("plum/"))).not.toEqual([]);

  const up = await stack.up({ withPreview: true });
  expect(up.exitCode).not.toBe(0);
  expect(up.output).toContain("What happens");
});
