import type * as pulumi from "@pulumi/pulumi";

/** Kinds of resources. Old state names them: never rename or reuse one. */
export type Kind =
  | "StoragePool"
  | "Network"
  | "ProfileDevices"
  | "WarmImage"
  | "Instance"
  | "InstancePlacement";

const load = (kind: string) =>
  require("node:module").createRequire(`${process.cwd()}/_`)("@taos-hosts/providers").get(kind);

/**
 * What Pulumi serializes into state: a few lines that load this package by name in the provider process, so that new
 * code rewrites no state. The specifier, `get` and the kinds are an ABI.
 */
export const shim = (kind: Kind): pulumi.dynamic.ResourceProvider => ({
  check: (olds: unknown, news: unknown) => load(kind).check(olds, news),
  diff: (id: string, olds: unknown, news: unknown) => load(kind).diff(id, olds, news),
  create: (inputs: unknown) => load(kind).create(inputs),
  read: (id: string, props: unknown) => load(kind).read(id, props),
  update: (id: string, olds: unknown, news: unknown) => load(kind).update(id, olds, news),
  delete: (id: string, props: unknown) => load(kind).delete(id, props),
});
