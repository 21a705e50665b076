# shellcheck shell=bash disable=SC2154
# Node.js: the machine's own where it is recent enough, else the pinned one from the npm registry.

ensure_node() {
  if node_is_recent; then return; fi
  if [ "$(uname -s)" != Linux ]; then
    fail "Node.js $oldest_node or newer is needed." "Install it from https://nodejs.org and run this again."
  fi
  command -v npm >/dev/null || fail "npm is missing." "Install Node.js with npm, for example: apt-get install nodejs npm"
  say "Node.js $node_version: the machine's own is $(node --version 2>/dev/null || echo missing), fetching it from the npm registry into $node_home"
  mkdir -p "$(dirname "$node_home")"
  local fresh
  fresh=$(mktemp -d "$node_home.XXXXXX")
  cp "$project_root/tools/node/package.json" "$project_root/tools/node/package-lock.json" "$fresh/"
  # npm ci checks the sha512 that tools/node/package-lock.json pins.
  if ! (cd "$fresh" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
    ! "$fresh/node_modules/$node_package/bin/node" --version >/dev/null 2>&1; then
    rm -rf "$fresh"
    fail "Node.js $node_version for $(uname -m) could not be fetched from the npm registry." \
      "Install Node.js $oldest_node or newer by hand (https://nodejs.org) or make the registry reachable, and run this again."
  fi
  rm -rf "$node_home"
  mv "$fresh" "$node_home"
}
