# A minimal Debian root, from the archives that this machine's apt reads. Who sources it has fail().
release=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

print_sources() {
  # the archives of the release that this machine's apt reads; Debian's own where it reads none
  local found
  # shellcheck disable=SC2016  # apt-get expands these
  found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v name=$release '$3 == "main" && ($2 == name || $2 ~ "^" name "-(updates|security)$")' | sort -u)
  [[ $found == *" $release main"* ]] || found="http://deb.debian.org/debian $release main"
  sed "s,^,deb [signed-by=$keyring] ," <<<"$found"
}

print_apt_options() {
  # how this machine's apt reaches its archives
  apt-config dump Acquire | grep -E '^Acquire::(http|https|Check-[A-Za-z-]+|Retries|ForceIPv[46])\b' |
    grep -v Proxy-Auto-Detect || true
}

bootstrap() {
  # bootstrap FOLDER FORMAT PACKAGE...: write FOLDER/root or FOLDER/root.tar, and files beside it
  local folder=$1 format=$2 output=$1/root names=()
  [[ $format == directory ]] || output=$output.$format
  shift 2
  [[ $# -eq 0 ]] || names=(--include="$(IFS=,; echo "$*")")
  print_apt_options > "$folder/options"
  print_sources > "$folder/sources"
  mmdebstrap --variant=minbase --mode=root --format="$format" --aptopt="$folder/options" --dpkgopt=force-unsafe-io \
    "${names[@]}" $release "$output" "$folder/sources" 2> "$folder/log" && return
  tail -n 20 "$folder/log" >&2
  rm -r "$folder"
  fail "mmdebstrap could not make a Debian root; above are its last messages"
}
