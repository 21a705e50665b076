import * as pulumi from "@pulumi/pulumi";

/** A value as a secret where the config holds it, or anything below it, encrypted. */
export function sealedIf<T>(isEncrypted: boolean, value: T): T | pulumi.Output<pulumi.Unwrap<T>> {
  return isEncrypted ? pulumi.secret(value) : value;
}

/** Config keys of an agent that its resource has under another name. */
const KEPT_IN: Record<string, string> = { health: "placement", pool: "placement", stopTimeout: "placement" };

/** Args of an agent with those as secrets that hold anything encrypted. */
export function sealed<T extends { secretProps?: string[] }>(args: T): T {
  const names = (args.secretProps ?? []).map((key) => KEPT_IN[key] ?? key).filter((name) => name in args);
  const secretProps = [...new Set(names)];
  if (secretProps.length === 0) return args;
  const secrets = secretProps.map((name) => [name, pulumi.secret(Reflect.get(args, name))]);
  return { ...args, ...Object.fromEntries(secrets), secretProps };
}
