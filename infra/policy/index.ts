import { PolicyPack } from "@pulumi/policy";
import { undeclaredContainers, unprotectedInstance } from "./rules.ts";

/** `pulumi preview --policy-pack infra/policy`: the third layer of protection, beside the provider and `protect`. */
new PolicyPack("taos-hosts", {
  policies: [
    {
      name: "protected-container-has-protect",
      description: "A protected container cannot be deleted or replaced by Pulumi.",
      enforcementLevel: "mandatory",
      validateResource: (resource, reportViolation) => {
        const violation = unprotectedInstance(resource);
        if (violation !== undefined) reportViolation(violation);
      },
    },
    {
      name: "protected-container-stays-declared",
      description: "A protected container that is on a host stays in the config.",
      enforcementLevel: "mandatory",
      validateStack: ({ resources }, reportViolation) => {
        for (const violation of undeclaredContainers(resources)) reportViolation(violation);
      },
    },
  ],
});
