#!/bin/sh
# The first process of a simulated board: goes into its root, in mount and pid namespaces of its own, and becomes a
# command there.
#
#   nsenter --net=… unshare --mount --pid --fork --uts --propagation unchanged \
#     sh board-namespace.sh ROOT INCUS COMMAND [ARGUMENT…]
#
# INCUS is a shared mount and becomes /var/lib/incus: what the board mounts below it is seen outside, as on a real host.
# Limits of the kernel are read-only: they would be this machine's. One of them is a file that says what a new kernel does.
set -eu
root=$1
incus=$2
shift 2
mount --make-slave /
mount --make-rslave /sys
mount --make-rslave /dev
mount --make-private "$root"
hostname board
mount -t proc proc "$root/proc"
for limits in fs kernel vm; do
  mount --bind "$root/proc/sys/$limits" "$root/proc/sys/$limits"
  mount -o remount,bind,ro "$root/proc/sys/$limits"
done
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
echo 128 >"$root/run/max_user_instances"
mount --bind "$root/run/max_user_instances" "$root/proc/sys/fs/inotify/max_user_instances"
# The kernel gives containers a /proc only where one is seen that nothing is mounted over.
mkdir -p "$root/run/whole-proc"
mount -t proc proc "$root/run/whole-proc"
mkdir -p "$root/run/sshd" "$root/run/lock" "$root/var/lib/incus"
mount --bind "$incus" "$root/var/lib/incus"
# A mere chroot may make no user namespace, and so no container.
mkdir -p "$root/old-root"
cd "$root"
pivot_root . old-root
cd /
# Nothing of the machine itself may be unmounted by that: its shared mounts are.
mount --make-rprivate /old-root
umount -l /old-root
exec "$@"
