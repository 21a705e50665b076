export { formatBytes, parseBytes } from "./bytes.ts";
export * from "./errors.ts";
export { clientFor, type IncusClient } from "./incus/client.ts";
export { HostConnection } from "./incus/connection.ts";
export { ImageAliasName, InstanceName, nearestNames, ObjectName, PoolName } from "./names.ts";
export { OWNER_KEY, type Ownership, ownerMark, ownershipOf } from "./ownership.ts";
export * from "./pool-decision.ts";
