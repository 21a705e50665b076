import * as pulumi from "@pulumi/pulumi";

/** The SDK's rejection for every output of a resource that failed or was skipped (runtime/resource.js). */
const FAILED_TO_REGISTER = /failed to register$/;

/**
 * Exit code by which Pulumi's language host knows that the program failed and has said why (cmd/run/index.js). With 0
 * the engine takes every resource that was not declared, the dependents of a failed one, for removed and deletes it.
 */
const FAILED_AND_SAID_SO = 32;

/**
 * Keeps the report of a failed resource to its own error. The engine has said what failed; the SDK then rejects every
 * dependent once more, with a stack of its own, which would bury it. The run still fails, so that nothing is deleted.
 */
export function quietDependents(): void {
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (reason, promise) => {
    if (reason instanceof Error && FAILED_TO_REGISTER.test(reason.message)) {
      process.exitCode = FAILED_AND_SAID_SO;
      return;
    }
    for (const listener of listeners) listener(reason, promise);
  });
}

/** A stack output that is empty, instead of an error of its own, where its resource failed. */
export function orEmpty(output: pulumi.Output<string>): pulumi.Output<string> {
  return pulumi.recover(output, () => {
    process.exitCode = FAILED_AND_SAID_SO;
    return "";
  });
}
