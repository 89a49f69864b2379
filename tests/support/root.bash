# What a booted Debian has mounted, in the root folder that is the current one.

mount_root() {
  local device
  mount -t proc -o nosuid,nodev,noexec proc proc
  mount -t sysfs -o nosuid,nodev,noexec sysfs sys
  mount -t tmpfs -o nosuid,mode=755 tmpfs dev
  mkdir dev/{net,pts,shm}
  for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 kmsg:1:11 net/tun:10:200 fuse:10:229; do
    IFS=: read -r device major minor <<<"$device"
    mknod --mode=666 "dev/$device" c "$major" "$minor"
  done
  mount -t devpts -o nosuid,noexec,newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs dev/shm
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for device in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${device#*:}" "dev/${device%:*}"; done
  mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
  mkdir -m 1777 run/lock
  [[ ! -d /lib/modules ]] || { mkdir -p lib/modules; mount --bind -o ro /lib/modules lib/modules; }
}

enter_root() {
  # make the current folder the root; the other one is gone then
  mkdir host
  pivot_root . host
  cd /
  umount --lazy /host
  rmdir /host
}
