/** Why something is not done, and what the person can do about it. */
export interface Problem {
  reason: string;
  remedy: string;
}
