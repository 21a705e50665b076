/**
 * An error meant for the person who runs Pulumi: what happened, to which object, why, and the way out.
 * It is printed as its message alone; anything else that is thrown is a bug of ours.
 */
export class VisibleError extends Error {
  override readonly name: string = "VisibleError";

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

/** The host could not be reached, or the connection broke before an answer came. The outcome of a write is unknown. */
export class UnreachableError extends VisibleError {
  override readonly name = "UnreachableError";
}

/** A wait passed its deadline. What was waited for goes on, or not; observe before acting again. */
export class DeadlineError extends VisibleError {
  override readonly name = "DeadlineError";
}

/** The run was cancelled (SIGINT, SIGTERM, or the Pulumi engine went away). */
export class CancelledError extends VisibleError {
  override readonly name = "CancelledError";
}

/** Ways out of what Incus refuses or fails at, by its own words; the first that fits. */
const REMEDIES: readonly [pattern: RegExp, remedy: string][] = [
  [
    /no space left|disk quota exceeded/i,
    "Free space in the pool and on the host, or set a larger size, then run again.",
  ],
  [
    /is forbidden|reached maximum|failed checking|not allowed/i,
    "The project does not allow it: change its limits or restrictions (incus project edit), or the entry in the config.",
  ],
  [
    /invalid (value|config|device|option)|unknown configuration key|cannot be/i,
    "Correct that setting in the config, then run again.",
  ],
  [
    /already (exists|in use|used|been)|duplicate/i,
    "Something else has that name or address: give one of the two another, then run again.",
  ],
  [
    /(not|couldn't be) found|doesn't exist|no such/i,
    "Make what is missing, or correct its name in the config, then run again.",
  ],
  [
    /busy|running a .* operation/i,
    "Incus works on it (incus operation list): run again once that has ended.",
  ],
  [
    /read-only file system|input\/output error/i,
    "Look at the disk under the pool (dmesg, incus warning list), then run again.",
  ],
];
const OTHERWISE = "Look at the daemon's log on the host (journalctl -u incus), then run again.";

/** What a person can do about an error of Incus. */
function remedyOf(reason: string): string {
  return REMEDIES.find(([pattern]) => pattern.test(reason))?.[1] ?? OTHERWISE;
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Error answer of the Incus API. `status` is the HTTP status, for example 404, 409 or 412. */
export class IncusApiError extends VisibleError {
  override readonly name = "IncusApiError";
  readonly status: number;
  /** Incus' own words, without the request. */
  readonly reason: string;

  constructor(request: string, status: number, reason: string, remedy = remedyOf(reason)) {
    super(`Incus answered ${request} with ${status}: ${sentence(reason)} ${remedy}`);
    this.status = status;
    this.reason = reason;
  }
}

/** True for the API's 404, the one way to recognise an absent object. */
export function isNotFound(error: unknown): boolean {
  return error instanceof IncusApiError && error.status === 404;
}

/** True where an etag no longer matches: somebody else changed the object in between. */
export function isPreconditionFailed(error: unknown): boolean {
  return error instanceof IncusApiError && error.status === 412;
}

/**
 * True where the project of an instance does not allow the change (project/permissions.go: "… is forbidden", "Reached
 * maximum …", "Failed checking …"). It is so at every attempt.
 */
export function isRefusedByProject(error: unknown): error is IncusApiError {
  return (
    error instanceof IncusApiError &&
    /is forbidden|Reached maximum|Failed checking if .* allowed|not allowed/i.test(error.reason)
  );
}

/** The message of anything thrown, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
