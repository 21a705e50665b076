import { describe, expect, it } from "vitest";
import { type SeenResource, undeclaredContainers, unprotectedInstance } from "../../../infra/policy/rules.ts";
import { type HostLook, type InstanceLook, OWNER_KEY } from "../../../providers/index.ts";
import { board, container, poolLook } from "../plan/hosts.ts";
import { owner } from "../plan/world.ts";
import { recordHost } from "./recorded-host.ts";

const AGENTS = { agents: { iris: { image: "taos-openclaw-base" }, rose: { image: "taos-openclaw-base" } } };

/** What `rules.ts` says of all resources of a run, as the pack calls it. */
function violations(resources: SeenResource[]): string[] {
  return [...resources.flatMap((one) => unprotectedInstance(one) ?? []), ...undeclaredContainers(resources)];
}

function made(name: string, isProtected: boolean): InstanceLook {
  const config = {
    [OWNER_KEY]: owner(name),
    "user.taos.image": "taos-openclaw-base",
    "user.taos.protected": String(isProtected),
  };
  return container(name, { config });
}

function host(...instances: InstanceLook[]): HostLook {
  return board([...instances, container("mary")], {
    pools: [poolLook("default", "btrfs", { warm: ["f1"] })],
  });
}

describe("policy rules, on recorded resource arguments (the pack itself needs a language host that runs policy packs)", () => {
  it("accept what the Host component declares", () => {
    const resources = recordHost(AGENTS, host(made("iris", true)));
    expect(resources.filter(({ type }) => type.endsWith(":Instance"))).toHaveLength(2);
    expect(violations(resources)).toEqual([]);
  });

  it("fail a run that no longer declares a protected container which is on the host", () => {
    const resources = recordHost(
      { agents: { rose: { image: "taos-openclaw-base" } } },
      host(made("iris", true), made("rose", true)),
    );
    expect(violations(resources)).toEqual([
      expect.stringMatching(/^Container orange-1\/iris is protected .*would delete it\. Put it back/),
    ]);
  });

  it("fail a run that renames a protected container", () => {
    const resources = recordHost(
      { agents: { iris2: { image: "taos-openclaw-base" } } },
      host(made("iris", true)),
    );
    expect(violations(resources)).toEqual([expect.stringContaining("Container orange-1/iris is protected")]);
  });

  it("fail a protected container whose resource could be deleted or replaced", () => {
    const resources = recordHost(AGENTS, host()).map((one) => ({ ...one, opts: { protect: false } }));
    expect(violations(resources)).toEqual([
      expect.stringContaining(
        "Container orange-1/iris is protected, but its resource lacks Pulumi's protect",
      ),
      expect.stringContaining("Container orange-1/rose"),
    ]);
  });

  it("let go what says protected: false, and what this stack did not make", () => {
    const lifted = { agents: { iris: { image: "taos-openclaw-base", protected: false } } };
    expect(violations(recordHost(lifted, host(made("iris", true))))).toEqual([]);
    expect(violations(recordHost({}, host(made("iris", false))))).toEqual([]);
    expect(violations(recordHost({}, host()))).toEqual([]);
  });
});
