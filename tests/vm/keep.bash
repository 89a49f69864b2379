# What bin/test-vm keeps, under the hash of what it was made of. Who sources it has note(), $cache and $root,
# and before a kernel is made $package and $modules.
shopt -s inherit_errexit # or in $(keep ...) a maker that failed would be taken for one that is done

keep() {
  # keep NAME KEY MAKER: call MAKER with a new folder, unless it was done before; one run at a time
  # shellcheck disable=SC2154  # who sources this has it
  local folder=$cache/$1-$2 making
  if [[ ! -d $folder ]]; then
    note "making $1 (once)"
    making=$(mktemp -d "$cache/making.XXXXXX")
    "$3" "$making" >&2
    mv --no-target-directory "$making" "$folder"
  fi
  touch "$folder" # what was not used for a month goes
  find "$cache" -mindepth 1 -maxdepth 1 -type d -name "$1-*" -mtime +30 -exec rm -rf {} +
  echo "$folder"
}

digest() { cat "$@" | sha256sum | cut -c -16; }

key_of_kernel() { # its package, the modules in its initramfs, and the scripts that make that
  # shellcheck disable=SC2154  # who sources this has them
  local made_by=("$root/tests/vm/init" "$root/tests/kernel/kernel.bash")
  # shellcheck disable=SC2154
  echo "${package#linux-image-}-$(printf '%s\n' "${modules[@]}" | digest - "${made_by[@]}")"
}
