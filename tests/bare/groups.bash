# Control groups of bin/test-bare's own: one in each hierarchy. It sources this file and sets
# $claims, a folder with a locked file for each run. Whoever kills a run and its guard leaves
# groups and a file that nobody holds; the next run sweeps them away.

claim_groups() {
  # sets $claim to a name that is ours for as long as descriptor 7 is open, here or in a child
  while claim=$(mktemp "$claims/groups.XXXXXX"); do
    exec 7<> "$claim"
    flock 7
    [[ ! -e $claim ]] || return 0 # else the sweep of another run was faster than the lock
  done
  return 1
}

print_groups() {
  # the groups of a claim, made or not
  local point
  while read -r point; do
    echo "$point/podwire-bare-${1##*groups.}"
  done < <(findmnt --noheadings --list --output TARGET --types cgroup,cgroup2)
}

make_groups() {
  # sets $groups
  local group file
  groups=()
  while read -r group; do
    groups+=("$group")
    mkdir "$group"
    for file in cpuset.cpus cpuset.mems; do # cgroup v1 lets nobody join a group without them
      [[ ! -f ${group%/*}/$file ]] || cat "${group%/*}/$file" > "$group/$file"
    done
  done < <(print_groups "$claim")
}

remove_groups() {
  # the groups of a claim, then the claim; fails while a process is in one of them
  local group
  while read -r group; do
    [[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || return 1
  done < <(print_groups "$1")
  rm -f "$1"
}

guard_groups() {
  # Its standard input ends when a run and its children have ended, also by kill -9.
  cat > /dev/null
  for _ in {1..600}; do # the kernel is still ending the processes
    remove_groups "$1" && return
    sleep 0.1
  done
}

start_guard() {
  # in a session of its own: who kills the run's process group does not kill it
  # shellcheck disable=SC2016  # the guard's shell expands these
  exec 8> >(exec setsid bash -c '. "$0"; guard_groups "$1"' "${BASH_SOURCE[0]}" "$claim")
  guard=$!
}

sweep_groups() {
  local left
  for left in "$claims"/groups.*; do
    [[ -e $left ]] || continue
    { ! flock --nonblock 6 || remove_groups "$left" || true; } 6<> "$left"
  done
}
