/*
 * Preloaded into the Node.js processes of a run (NODE_OPTIONS in common.sh). At its start Pulumi's SDK loads a TypeScript
 * compiler and npm's installer, more than half of what it loads and in each of two processes, to serialize functions
 * and the packages that they use. Nothing of this project is serialized: both are loaded when they are first used. Nor
 * does it have source maps, which the SDK looks for in each stack, of which it takes one for each resource.
 */
const Module = require("node:module");

const LAZY = ["typescript", "@npmcli/arborist"];
const load = Module._load;

Module._load = function loadLazily(request, parent, isMain) {
  const isOfSdk = parent?.filename?.includes("/@pulumi/pulumi/");
  // Types are taken out in place, so that no line of a stack is another one in the source.
  if (isOfSdk && request === "source-map-support/register") return {};
  if (!isOfSdk || !LAZY.includes(request)) return load.call(this, request, parent, isMain);
  // Where it is missing, that shows now.
  Module._resolveFilename(request, parent);
  let found;
  const real = () => {
    found ??= load.call(this, request, parent, false);
    return found;
  };
  return new Proxy(
    {},
    {
      // Asked of every module by what TypeScript compiles; where it is set, nothing is copied.
      get: (_target, key) => (key === "__esModule" ? true : real()[key]),
      has: (_target, key) => key in real(),
    },
  );
};
