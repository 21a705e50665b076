import type { MigrationState } from "./states.ts";
import { STEPS_ASIDE } from "./steps/aside.ts";
import { STEPS_BACK } from "./steps/back.ts";
import type { Step } from "./steps/step.ts";
import { STEPS_THERE } from "./steps/there.ts";

/** What is done in each state that has a next step. Each is safe to repeat. */
export const STEPS: { [State in MigrationState]?: Step } = {
  ...STEPS_THERE,
  ...STEPS_BACK,
  ...STEPS_ASIDE,
};
