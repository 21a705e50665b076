# shellcheck shell=sh disable=SC2154 # run.sh reads the options
# Incus and the programs it needs, from the distribution; from Debian's backports where the release has none.

# What has to be there, as "command package".
incus_tools() {
  cat <<'TOOLS'
mkfs.btrfs btrfs-progs
rsync rsync
dnsmasq dnsmasq-base
nft nftables
newuidmap uidmap
unsquashfs squashfs-tools
TOOLS
}

has_command() { command -v "$1" >/dev/null 2>&1; }

has_incus() { has_command incus && find_daemon >/dev/null; }

missing_packages() {
  incus_tools | while read -r command package; do
    if ! has_command "$command"; then echo "$package"; fi
  done
}

has_candidate() { apt-cache policy "$1" 2>/dev/null | grep '^ *Candidate: [^(]' >/dev/null; }

# Debian 12 and what is built on it (Armbian, Raspberry Pi OS).
on_bookworm() { grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; }

# incus-base is Incus without virtual machines; where the distribution does not split it, the whole.
incus_packages() {
  if ! on_bookworm && has_candidate incus && ! has_candidate incus-base; then echo incus; else echo incus-base incus-client; fi
}

all_of() { echo "$*"; }

ensure_packages() {
  suite=
  new_incus=
  if ! has_incus; then
    new_incus=$(incus_packages)
    if on_bookworm; then suite=bookworm-backports; fi
  fi
  others=$({ missing_packages && for package in $packages; do echo "$package"; done; } | paste -sd ' ')
  if [ -z "$new_incus$others" ]; then return; fi
  # shellcheck disable=SC2086
  has_command apt-get ||
    fail "These packages are missing: $(all_of $new_incus $others)." "Install them with this host's package manager and run this again."
  # shellcheck disable=SC2086
  todo "packages: apt-get installs $(all_of $new_incus $others)${suite:+ from $suite}, and what they depend on" install_packages
}

apt_log=/var/log/taos-hosts-prepare.log

install_packages() {
  update_lists || fail "apt-get update did not succeed." "The package mirror must be reachable, and the clock right; the messages are above."
  if [ -n "$suite" ] && ! has_candidate incus-base; then add_backports; fi
  if [ -n "$new_incus" ]; then
    # Only now the lists say what this distribution calls it.
    new_incus=$(incus_packages)
    has_candidate "${new_incus%% *}" || fail "apt knows no package ${new_incus%% *} here." \
      "Is its mirror reachable? Debian 12 or newer and Ubuntu 24.04 or newer have it; for others see https://linuxcontainers.org/incus/docs/main/installing/"
  fi
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -q -o DPkg::Lock::Timeout=300 \
    ${suite:+-t "$suite"} $new_incus $others >"$apt_log" 2>&1 || {
    tail -n 15 "$apt_log" >&2
    fail "apt-get install did not succeed." "All of its output is in $apt_log."
  }
}

update_lists() { apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null; }

# From the mirror, and with the key, that the host's own sources use.
add_backports() {
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Identifier: Packages' 2>/dev/null |
    sed -n 's| bookworm Debian$||p' | head -n 1)
  mirror=${mirror:-http://deb.debian.org/debian}
  source=/etc/apt/sources.list.d/$suite.sources
  echo "packages: $source ($mirror)"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$suite" >"$source"
  update_lists || fail "The suite $suite could not be read from $mirror." "Correct $source and run this again."
}
