import { expect, it } from "vitest";
import { renamedState } from "../../../infra/commands/renamed-state.ts";

const HOSTS = [
  { before: "orange", after: "plum", from: "taos-hosts/old/orange/", to: "taos-hosts/new/plum/" },
  { before: "fig", after: "fig", from: "taos-hosts/old/fig/", to: "taos-hosts/new/fig/" },
];
const TYPE = "taos-hosts:infra:Host$pulumi-nodejs:dynamic/taos-hosts:Instance";

/** A resource as `pulumi stack export` writes it, of a host. */
function resource(host: string, stack: string) {
  const urn = `urn:pulumi:new::taos-hosts::${TYPE}::${host}/iris`;
  const pool = `urn:pulumi:new::taos-hosts::${TYPE.replace("Instance", "StoragePool")}::${host}/default`;
  const values = {
    owner: `taos-hosts/${stack}/${host}/iris`,
    host: { name: host, connection: "unix" },
    // Text of the user, whatever it looks like.
    environment: {
      owner: "taos-hosts/old/orange/iris",
      URN: "urn:pulumi:x::y::z::orange/iris",
      host: "orange",
    },
    config: { "user.note": "taos-hosts/old/orange/iris" },
    devices: { host: { name: "orange" } },
    files: [{ path: "/etc/owner", content: "taos-hosts/old/orange/" }],
  };
  return {
    urn,
    parent: `urn:pulumi:new::taos-hosts::taos-hosts:infra:Host::${host}`,
    dependencies: [pool],
    propertyDependencies: { pool: [pool], owner: null },
    inputs: { __provider: "taos-hosts/old/orange/", ...values },
    outputs: values,
  };
}

it("changes marks, URNs and the host's name of a state, and no text of the user", () => {
  const state = {
    version: 3,
    deployment: { resources: [resource("orange", "old"), resource("fig", "old")] },
  };
  const next = { version: 3, deployment: { resources: [resource("plum", "new"), resource("fig", "new")] } };
  expect(renamedState(state, HOSTS)).toEqual(next);
  expect(renamedState(next, HOSTS)).toEqual(next);
});

it("takes two hosts that change their names with one another apart", () => {
  const swap = [
    { before: "orange", after: "fig", from: "taos-hosts/s/orange/", to: "taos-hosts/s/fig/" },
    { before: "fig", after: "orange", from: "taos-hosts/s/fig/", to: "taos-hosts/s/orange/" },
  ];
  expect(renamedState([resource("orange", "s"), resource("fig", "s")], swap)).toEqual([
    resource("fig", "s"),
    resource("orange", "s"),
  ]);
});
