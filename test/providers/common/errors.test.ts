import { expect, it } from "vitest";
import { IncusApiError, isRefusedByProject } from "../../../providers/common/errors.ts";

it.each([
  ['Invalid config: Invalid value for an integer "x"', "Correct that setting in the config"],
  ["write /rootfs/a: no space left on device", "Free space in the pool"],
  ['Reached maximum number of instances of type "container" in project "lim"', "incus project edit"],
  ['Instance DNS name "iris" already used on network', "has that name or address"],
  ["Instance is busy running a stop operation", "incus operation list"],
  ["Storage pool not found", "Make what is missing"],
  ["Failed to run: forkstart: exit status 1", "daemon's log"],
])("an error of Incus says the way out: %s", (reason, remedy) => {
  const { message } = new IncusApiError("operation 1", 400, reason);
  expect(message).toContain(`${reason}. `);
  expect(message).toContain(remedy);
});

it("tells what a project refuses, which no second attempt changes", () => {
  const of = (reason: string): boolean => isRefusedByProject(new IncusApiError("PUT", 403, reason));
  expect(of('Changing "volatile.uuid" on container "lm" in project "lim" is forbidden')).toBe(true);
  expect(of("Instance is busy")).toBe(false);
});
