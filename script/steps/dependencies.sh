# shellcheck shell=bash disable=SC2154
# The npm packages of package-lock.json.

# What was installed, and by which lock file; where both are as they were when they were compared, they still agree.
dependency_stamp() { cksum package-lock.json node_modules/.package-lock.json 2>/dev/null; }

ensure_dependencies() {
  cd "$project_root" || return
  local stamp=$state_dir/dependencies
  if [ "$(cat "$stamp" 2>/dev/null)" = "$(dependency_stamp)" ]; then return; fi
  if node script/dependencies-current.ts; then
    dependency_stamp >"$stamp"
    return
  fi
  say "Dependencies: npm ci"
  # npm cleans up after itself only when it ends well.
  npm ci --no-audit --no-fund --loglevel=error >&2 ||
    fail "npm ci did not succeed." "See its messages above; the npm registry must be reachable once."
}
