import { IncusApiError } from "../../common/errors.ts";
import type { IncusClient } from "../../incus/client.ts";
import { exclusively } from "../../incus/instance-patch.ts";
import { findInstance, type InstanceRef, setInstanceState } from "../../incus/instances.ts";

/** Milliseconds for Incus to start an instance. */
const DEADLINE = 120_000;

/** Starts an instance. Running already is fine: the daemon may have started it after a restart. @throws IncusApiError */
export async function startInstance(client: IncusClient, ref: InstanceRef): Promise<void> {
  await exclusively(client, ref, async () => {
    try {
      await setInstanceState(client, ref, { action: "start" }, { deadline: DEADLINE });
    } catch (error) {
      if (!(error instanceof IncusApiError)) throw error;
      if ((await findInstance(client, ref))?.value.status !== "Running") throw error;
    }
  });
}
