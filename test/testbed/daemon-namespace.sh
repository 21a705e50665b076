#!/bin/sh
# Starts a command in a mount namespace of its own whose /sys shows the network
# namespace it runs in, without losing the cgroup mounts under /sys.
#
#   nsenter --net=… unshare --mount --propagation unchanged \
#     sh daemon-namespace.sh SCRATCH COMMAND [ARGUMENT…]
#
# A plain `ip netns exec` mounts a new sysfs over /sys/fs/cgroup, after which
# Incus cannot freeze a container. Mounts below the daemon's own directory (a
# shared mount) still reach the first mount namespace, as on a real host.
set -eu
scratch=$1
shift
mount --make-slave /
mount --make-rslave /run 2>/dev/null || :
mount --make-rslave /sys
mount --rbind /sys/fs/cgroup "$scratch"
mount -t sysfs sysfs /sys
mount --rbind "$scratch" /sys/fs/cgroup
umount --lazy "$scratch"
exec "$@"
