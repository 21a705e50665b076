# shellcheck shell=bash disable=SC2154
# Incus on this machine: distribution packages, host limits, the running daemon.

# What has to be there, as "command package".
incus_tools="mkfs.btrfs btrfs-progs
rsync rsync
dnsmasq dnsmasq-base
nft nftables
newuidmap uidmap
unsquashfs squashfs-tools"

# Whether a host of the stack is the daemon of this machine.
stack_is_local() {
  local answer=0
  node "$project_root/script/stack-is-local.ts" "$config" || answer=$?
  case $answer in 0) ;; 3) return 1 ;; *) exit 1 ;; esac
}

incus_socket() {
  if [ -S /run/incus/unix.socket ]; then echo /run/incus/unix.socket; else echo /var/lib/incus/unix.socket; fi
}

ensure_incus() {
  # The user points at a daemon of his own.
  if [ -n "${INCUS_SOCKET:-}${INCUS_DIR:-}" ]; then return; fi
  if ! stack_is_local; then
    command -v incus >/dev/null || say "Incus: no host of stack \"$stack\" is this machine, so nothing is installed on it"
    return
  fi
  local wanted
  wanted=$(missing_packages "$incus_tools")
  if ! has_command incus; then wanted="$(incus_packages) $wanted"; fi
  install_packages "this machine is a host of stack \"$stack\"" "$wanted"
  start_incus
}

# Debian keeps /usr/sbin off the PATH of ordinary users.
has_command() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

missing_packages() {
  local command package missing=
  while read -r command package; do
    if ! has_command "$command"; then missing="$missing $package"; fi
  done <<<"$1"
  echo "${missing# }"
}

# incus-base is Incus without virtual machines; where the distribution does not split it, the whole.
incus_packages() {
  if has_candidate incus-base || on_bookworm; then echo "incus-base incus-client"; else echo incus; fi
}

has_candidate() { apt-cache policy "$1" 2>/dev/null | grep '^ *Candidate: [^(]' >/dev/null; }

# Debian 12 and what is built on it (Armbian, Raspberry Pi OS).
on_bookworm() { grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; }

# install_packages REASON PACKAGES [FUNCTION]: says what it will do, asks, runs FUNCTION, installs.
install_packages() {
  local reason=$1 before=${3:-true} packages suite='' new_incus=''
  read -ra packages <<<"$2"
  if [ ${#packages[@]} -eq 0 ]; then return; fi
  command -v apt-get >/dev/null ||
    fail "These packages are missing: ${packages[*]}." "Install them with this machine's package manager and run this again."
  case " ${packages[*]} " in *" incus"*) new_incus=1 ;; esac
  if [ -n "$new_incus" ] && on_bookworm; then suite=bookworm-backports; fi

  say "Packages: $reason; apt-get will install ${packages[*]}${suite:+ from $suite} and what they depend on"
  if [ -n "$new_incus" ]; then
    say "Host: /etc/subuid and /etc/subgid get root:1000:1, /etc/sysctl.d/60-taos-hosts.conf raises kernel limits for many containers"
    if [ "$(id -u)" -ne 0 ]; then say "Host: $(id -un) joins the group incus-admin, which is as good as root on this machine"; fi
  fi
  confirm || fail "Nothing was installed." "Run this again when you want it, or install by hand: apt-get install ${packages[*]}"

  "$before"
  as_root apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null ||
    fail "apt-get update did not succeed." "See its messages above; the package mirror must be reachable."
  if [ -n "$suite" ] && ! has_candidate incus-base; then add_backports "$suite"; fi
  if [ -n "$new_incus" ] && ! has_candidate "${packages[0]}"; then
    fail "This distribution has no package ${packages[0]}." \
      "Debian 12 or newer and Ubuntu 24.04 or newer have it; for others see https://linuxcontainers.org/incus/docs/main/installing/"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -q -o DPkg::Lock::Timeout=300 \
    ${suite:+-t "$suite"} "${packages[@]}" >"$state_dir/apt.log" 2>&1 || {
    tail -n 15 "$state_dir/apt.log" >&2
    fail "apt-get install did not succeed." "All of its output is in .state/apt.log."
  }
  if [ -n "$new_incus" ]; then
    # After the package: it gives root its range of ids only where root has no entry yet.
    delegate_ids
    raise_limits
    # The daemon reads the ids when it starts, and the package may have started it.
    if [ -d /run/systemd/system ]; then as_root systemctl try-restart incus.service; fi
    if [ "$(id -u)" -ne 0 ]; then as_root usermod -aG incus-admin "$(id -un)"; fi
  fi
}

# A terminal is asked; where there is none, what was said above has to do.
confirm() {
  local answer
  if [ -n "$assume_yes" ] || [ ! -t 0 ]; then return; fi
  printf 'taos-hosts: Go on? [Y/n] ' >&2
  read -r answer || return 1
  case $answer in '' | y | Y | yes) ;; *) return 1 ;; esac
}

# Debian's backports from the mirror, and with the key, that the machine's own sources use.
add_backports() {
  local suite=$1 mirror source=/etc/apt/sources.list.d/$1.sources
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Identifier: Packages' 2>/dev/null |
    sed -n 's| bookworm Debian$||p' | head -n 1)
  mirror=${mirror:-http://deb.debian.org/debian}
  say "Packages: adding $source ($mirror)"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$suite" | as_root tee "$source" >/dev/null
  as_root apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null ||
    fail "The suite $suite could not be read from $mirror." "Correct $source and run this again."
}

# The range unprivileged containers live in, and uid 1000, which a container's root may be mapped to
# (raw.idmap "both 1000 0").
delegate_ids() {
  local kind file
  for kind in uid gid; do
    file=/etc/sub$kind
    if ! awk -F: '$1 == "root" && $3 >= 65536 { found = 1 } END { exit !found }' "$file"; then
      as_root usermod "--add-sub${kind}s" 1000000-1000999999 root
    fi
    if ! grep -qs '^root:1000:1$' "$file"; then echo root:1000:1 | as_root tee -a "$file" >/dev/null; fi
  done
}

# Incus' advice for production servers. Raises only.
raise_limits() {
  local key value now lines=
  while read -r key value; do
    now=$(cat "/proc/sys/${key//.//}" 2>/dev/null) || continue
    if [ "$now" -lt "$value" ]; then lines="$lines$key = $value"$'\n'; fi
  done <<'LIMITS'
fs.aio-max-nr 524288
fs.inotify.max_queued_events 1048576
fs.inotify.max_user_instances 1048576
fs.inotify.max_user_watches 1048576
kernel.keys.maxbytes 2000000
kernel.keys.maxkeys 2000
net.core.bpf_jit_limit 1000000000
net.ipv4.neigh.default.gc_thresh3 8192
net.ipv6.neigh.default.gc_thresh3 8192
vm.max_map_count 262144
LIMITS
  if [ -z "$lines" ]; then return; fi
  local file=/etc/sysctl.d/60-taos-hosts.conf
  printf '# Limits for many containers, from the advice for production servers in the documentation of Incus.\n%s' "$lines" |
    as_root tee "$file" >/dev/null
  # A kernel or a container may refuse single values; the others still count.
  as_root sysctl -q -p "$file" >/dev/null 2>&1 || say "Host: some limits of $file could not be set on this machine"
}

start_incus() {
  local answer=0
  incus_answers || answer=$?
  if [ "$answer" -eq 1 ]; then
    if [ -d /run/systemd/system ]; then start_with_systemd; else start_by_hand; fi
    answer=0
    incus_answers || answer=$?
  fi
  case $answer in
    0) ;;
    # script/stack goes on with the group where /etc/group already has the user in it.
    2)
      if id -nG "$(id -un)" | tr ' ' '\n' | grep -x incus-admin >/dev/null; then return; fi
      fail "No permission for the socket of Incus, $(incus_socket)." \
        "Join its group (as good as root on this machine) and log in again: sudo usermod -aG incus-admin $(id -un)"
      ;;
    *) fail "Incus does not answer at $(incus_socket)." "See: journalctl -u incus, or /var/log/incus/incus.log" ;;
  esac
}

# 0 yes, 1 no, 2 no permission.
incus_answers() { node "$project_root/script/incus-answers.ts" "$(incus_socket)"; }

start_with_systemd() {
  say "Incus: systemctl enable --now incus.socket"
  as_root systemctl enable -q --now incus.socket ||
    fail "incus.socket could not be started." "See: systemctl status incus.socket"
}

start_by_hand() {
  local daemon
  for daemon in /usr/libexec/incus/incusd /opt/incus/bin/incusd "$(PATH=$PATH:/usr/sbin:/sbin command -v incusd)"; do
    if [ -x "$daemon" ]; then break; fi
  done
  [ -x "$daemon" ] || fail "incusd was not found." "Install Incus' daemon (Debian: incus-base) or start it, and run this again."
  say "Incus: starting the daemon (no systemd here)"
  as_root mkdir -p /var/log/incus
  # A session of its own, and none of our descriptors: it outlives this script.
  # shellcheck disable=SC2016
  as_root sh -c 'ulimit -n 1048576 2>/dev/null; exec setsid --fork "$0" --group incus-admin --logfile=/var/log/incus/incus.log' \
    "$daemon" </dev/null >/dev/null 2>&1 9>&-
  as_root "$daemon" waitready --timeout=60 || fail "Incus did not become ready within 60 s." "See /var/log/incus/incus.log"
}
