# shellcheck shell=bash disable=SC2154
# The pinned Pulumi CLI, its Node.js language host and the launcher of dynamic providers, side by side.

ensure_pulumi() {
  if [ -x "$pulumi_bin/pulumi" ] && [ -x "$pulumi_bin/pulumi-language-nodejs" ] &&
    [ -x "$pulumi_bin/pulumi-resource-pulumi-nodejs" ]; then
    return
  fi
  mkdir -p "$(dirname "$pulumi_bin")"
  local fresh
  fresh=$(mktemp -d "$(dirname "$pulumi_bin")/bin.XXXXXX")
  chmod 0755 "$fresh"
  # shellcheck disable=SC2064
  trap "rm -rf '$fresh'" EXIT
  if ! download_pulumi "$fresh" && ! build_pulumi "$fresh"; then
    fail "The Pulumi CLI $pulumi_version is missing." \
      "Either let this machine reach https://get.pulumi.com," \
      "or install Go 1.21 or newer (Debian 13: apt-get install golang-go; Debian 12: apt-get install -t bookworm-backports golang-go;" \
      "else https://go.dev/dl) with a reachable Go module proxy," \
      "or put pulumi and pulumi-language-nodejs of that version into $pulumi_bin, and run this again."
  fi
  # The launcher runs the first node on PATH, which is the one set up here.
  install -m 0755 "$project_root/node_modules/@pulumi/pulumi/pulumi-resource-pulumi-nodejs" "$fresh/"
  "$fresh/pulumi" version >/dev/null 2>&1 || fail "The Pulumi CLI that was just set up does not run on this machine ($(uname -m))."
  rm -rf "$pulumi_bin"
  mv "$fresh" "$pulumi_bin"
  trap - EXIT
}

# The official release, checked against the checksums published beside its source.
download_pulumi() {
  local target=$1 arch archive
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) arch=linux-x64 ;;
    Linux-aarch64 | Linux-arm64) arch=linux-arm64 ;;
    *) return 1 ;;
  esac
  archive=pulumi-v$pulumi_version-$arch.tar.gz
  say "Pulumi CLI $pulumi_version: downloading from get.pulumi.com"
  (
    export NODE_USE_ENV_PROXY=1
    cd "$target" || exit 1
    node "$project_root/script/download.ts" "https://get.pulumi.com/releases/sdk/$archive" "$archive" || exit 1
    if node "$project_root/script/download.ts" \
      "https://github.com/pulumi/pulumi/releases/download/v$pulumi_version/pulumi-$pulumi_version-checksums.txt" checksums; then
      grep " $archive\$" checksums | sha256sum --check --status || {
        say "Pulumi CLI: $archive is not what its published checksum says, so it is not used"
        exit 1
      }
    fi
    tar -xzf "$archive" --strip-components=1 || exit 1
    rm -f "$archive" checksums
  ) || return 1
}

# The same sources from the Go module proxy; go.sum pins every one of them.
build_pulumi() {
  local target=$1
  rm -rf "${target:?}"/*
  command -v go >/dev/null || { say "Pulumi CLI: no Go here to build it"; return 1; }
  say "Pulumi CLI $pulumi_version: building from Go modules, once, a few minutes"
  (
    export GOTOOLCHAIN=auto GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0
    cd "$project_root/tools/pulumi-language-nodejs" || exit 1
    go build -trimpath -ldflags "-s -w" -o "$target/" \
      github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs || exit 1
    cd "$project_root/tools/pulumi-cli" || exit 1
    go build -trimpath -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v$pulumi_version" \
      -o "$target/" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi || exit 1
  ) >&2 || return 1
}
