# shellcheck shell=sh disable=SC2154 # run.sh reads the options
# What Incus needs of the host beside its packages: ids, limits, the kernel's btrfs, the login's group.

# The range unprivileged containers live in.
has_range() { awk -F: '$1 == "root" && $3 >= 65536 { found = 1 } END { exit !found }' "$1" 2>/dev/null; }

# uid 1000, which a container's root may be mapped to (raw.idmap "both 1000 0").
has_user_id() { grep -qs '^root:1000:1$' "$1"; }

# After the packages: Incus' gives root its range only where root has no entry yet.
ensure_ids() {
  for file in /etc/subuid /etc/subgid; do
    if has_range "$file" && has_user_id "$file"; then continue; fi
    todo "ids: /etc/subuid and /etc/subgid give root a range for containers, and id 1000" delegate_ids
    return
  done
}

delegate_ids() {
  for kind in uid gid; do
    file=/etc/sub$kind
    if ! has_range "$file"; then usermod "--add-sub${kind}s" 1000000-1000999999 root; fi
    if ! has_user_id "$file"; then echo root:1000:1 >>"$file"; fi
  done
  # A daemon reads them when it starts; its containers go on meanwhile.
  if has_systemd; then systemctl try-restart incus.service; fi
}

limits_file=/etc/sysctl.d/60-taos-hosts.conf

# Incus' advice for production servers.
wanted_limits() {
  cat <<'LIMITS'
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
}

# Raises only. What the file has already, the kernel took or refused: a container may not set everything.
low_limits() {
  wanted_limits | while read -r key value; do
    now=$(cat "/proc/sys/$(echo "$key" | tr . /)" 2>/dev/null) || continue
    if [ "$now" -lt "$value" ] && ! grep -qsx "$key = $value" "$limits_file"; then echo "$key = $value"; fi
  done
}

ensure_limits() {
  low=$(low_limits)
  if [ -z "$low" ]; then return; fi
  todo "limits: $limits_file raises $(echo "$low" | sed 's/ = .*//' | paste -sd ' ')" raise_limits "$low"
}

raise_limits() {
  mkdir -p "$(dirname "$limits_file")"
  if [ ! -e "$limits_file" ]; then
    echo "# Limits for many containers, from the advice for production servers in the documentation of Incus." >"$limits_file"
  fi
  echo "$1" >>"$limits_file"
  refused=
  for key in $(echo "$1" | sed 's/ = .*//'); do
    value=$(echo "$1" | sed -n "s/^$key = //p")
    { echo "$value" >"/proc/sys/$(echo "$key" | tr . /)"; } 2>/dev/null || refused="$refused $key"
  done
  if [ -n "$refused" ]; then note "The kernel here refuses these limits, and keeps its own:$refused"; fi
}

ensure_module() {
  if grep -q 'btrfs$' /proc/filesystems; then return; fi
  if ! has_command modprobe || ! modprobe -n -q btrfs; then
    note "The kernel here has no btrfs. Install the package with its further modules (Ubuntu: linux-modules-extra), or take pool.driver dir."
    return
  fi
  todo "module: the kernel loads btrfs, now and at boot" load_module
}

load_module() {
  modprobe btrfs || fail "The kernel module btrfs could not be loaded." "See dmesg; after an update of the kernel the host needs to be started anew."
  mkdir -p /etc/modules-load.d
  echo btrfs >/etc/modules-load.d/taos-hosts.conf
}

ensure_group() {
  if [ -z "$user" ] || [ "$user" = root ]; then return; fi
  if id -nG "$user" 2>/dev/null | tr ' ' '\n' | grep -qx incus-admin; then return; fi
  todo "group: $user joins incus-admin, which is as good as root there" join_group
}

join_group() {
  usermod -aG incus-admin "$user" ||
    fail "$user could not be put into the group incus-admin." "Is it a user of the host itself? Else add it where its groups are kept."
}
