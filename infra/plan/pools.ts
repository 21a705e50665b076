import {
  cowName,
  decidePool,
  formatBytes,
  type HostLook,
  isCopyOnWrite,
  isOfSameStack,
  type PoolDecision,
  type PoolLook,
  poolFactsOf,
  poolWorldOf,
  qualifiedName,
  reasonOf,
  settleWish,
} from "@taos-hosts/providers";
import { type EffectivePool, effectivePool } from "./effective-pool.ts";
import type { Findings } from "./findings.ts";
import { findPool, parkedOf, type Scene } from "./scene.ts";
import { poolWishes } from "./wishes.ts";
import { MOST_NAMED } from "./words.ts";

export interface PoolPlan {
  /** Name of the pool that the config means. */
  name: string;
  main: PoolDecision;
  cow: PoolDecision | null;
  /** Names of the pools that the config means: the main one and, where there is one, the second. */
  wanted: string[];
  /** Undefined where a refusal leaves none. */
  effective: EffectivePool | undefined;
}

export function planPools(scene: Scene): PoolPlan {
  const { host, look, findings } = scene;
  const owner = scene.owner(host.name);
  const world = poolWorldOf(look);
  const twin = twinOf(settleWish(poolWishes(host, false).main, world, owner).name, look);
  const wishes = poolWishes(host, twin?.owner != null && isOfSameStack(twin.owner, owner));
  const wish = settleWish(wishes.main, world, owner);
  const { name } = wish;
  const main = decidePool(wish, poolFactsOf(look, wish));
  addDecision(findings, name, main);
  if (twin && !wishes.cow && host.pool.cow === undefined) addWayBack(scene, name, twin);
  const effective = effectivePool(wish, main, look);
  if (!wishes.cow) return { name, main, cow: null, wanted: [name], effective };
  const cowWish = settleWish(wishes.cow, world, owner);
  const facts = poolFactsOf(look, cowWish);
  // A named pool that this very plan makes copy-on-write needs no second one.
  const isMade = main.action === "create" || main.action === "recreate";
  const cow = decidePool(cowWish, isMade ? { ...facts, original: { driver: main.driver } } : facts);
  addDecision(findings, cowWish.name, cow);
  return {
    name,
    main,
    cow,
    wanted: [name, cowWish.name],
    effective: cow.action === "use-original" ? effective : effectivePool(cowWish, cow, look),
  };
}

/** The copy-on-write pool beside a `dir` pool. */
function twinOf(name: string, look: HostLook): PoolLook | undefined {
  const main = findPool(look, name);
  const twin = findPool(look, cowName(name));
  return main && twin && !isCopyOnWrite(main.driver) && isCopyOnWrite(twin.driver) ? twin : undefined;
}

/**
 * Refuses a config with which agents would silently be made on the `dir` pool again, beside containers of this config
 * that are on the second one.
 */
function addWayBack({ host, look, findings }: Scene, main: string, twin: PoolLook): void {
  const there = look.instances
    .filter((one) => one.root?.pool === twin.name && parkedOf(one) === null)
    .filter(({ name, project }) => (host.containers[name] ?? host.agents[name])?.project === project)
    .map(qualifiedName);
  if (there.length === 0) return;
  findings.refuse(
    { object: `pool ${twin.name}` },
    {
      reason: `${there.join(", ")} are on it and this stack did not make it, so new agents would go to pool ${main} (dir) again`,
      remedy: `Add "cow: true" under pool to go on with ${twin.name}, or "cow: false" to go back to ${main} for good.`,
    },
  );
}

function addDecision(findings: Findings, name: string, decision: PoolDecision): void {
  const object = `pool ${name}`;
  switch (decision.action) {
    case "create":
    case "recreate":
    case "grow": {
      const { action, driver, size, reason } = decision;
      const sized = size === undefined ? "" : `, ${formatBytes(size)}`;
      findings.act(`${action}-pool`, { object }, `${driver}${sized}: ${reason}`);
      return;
    }
    case "refuse":
      findings.refuse({ object }, { reason: reasonOf(decision, MOST_NAMED), remedy: decision.remedy });
      return;
    case "leave": {
      const reason = reasonOf(decision, MOST_NAMED);
      findings.remarks.push(`${object} stays ${decision.driver}: ${reason}. ${decision.remedy}`.trimEnd());
      return;
    }
    case "adopt":
      if (decision.remark !== undefined) findings.remarks.push(decision.remark);
      return;
    case "use-original":
      return;
  }
}
