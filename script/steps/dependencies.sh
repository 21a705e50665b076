# shellcheck shell=bash disable=SC2154
# The npm packages of package-lock.json.

ensure_dependencies() {
  cd "$project_root" || return
  if node script/dependencies-current.ts; then return; fi
  say "Dependencies: npm ci"
  # npm cleans up after itself only when it ends well.
  npm ci --no-audit --no-fund --loglevel=error >&2 ||
    fail "npm ci did not succeed." "See its messages above; the npm registry must be reachable once."
}
