// The language host compiles a TypeScript entry with ts-node, which knows no import of a ".ts" file; Node.js runs it.
import "./index.ts";
