import * as pulumi from "@pulumi/pulumi";

/** The SDK's rejection for every output of a resource that failed or was skipped (runtime/resource.js). */
const FAILED_TO_REGISTER = /failed to register$/;

/**
 * Keeps the report of a failed resource to its own error. The engine has said what failed; the SDK then rejects every
 * dependent once more, with a stack of its own, which would bury it.
 */
export function quietDependents(): void {
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (reason, promise) => {
    if (reason instanceof Error && FAILED_TO_REGISTER.test(reason.message)) return;
    for (const listener of listeners) listener(reason, promise);
  });
}

/** A stack output that is empty, instead of an error of its own, where its resource failed. */
export function orEmpty(output: pulumi.Output<string>): pulumi.Output<string> {
  return pulumi.recover(output, () => "");
}
