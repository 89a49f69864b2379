#!/bin/bash
# Put podwire, a container runtime and its images on this machine: packages, an environment in /opt/podwire,
# containerd's configuration. All of it comes from the bundle that `vagrant/bundle` made on the host.
# Idempotent: it changes only what differs.
set -euo pipefail
arrived=/tmp/podwire-bundle.tar
bundle=/var/cache/podwire/bundle
venv=/opt/podwire
pause=podwire/pause:1
made=/var/lib/podwire-provision # what was done, and of what
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

fail() { echo "podwire provision: $(hostname): $1" >&2; exit 1; }
say() { echo "podwire provision: $(hostname): $1"; }

is_made() { # NAME WHAT: whether NAME was made of WHAT
  [[ -f $made/$1 && $(<"$made/$1") == "$2" ]]
}

record() {
  mkdir -p "$made"
  printf '%s\n' "$2" > "$made/$1.new"
  mv "$made/$1.new" "$made/$1"
}

unpack() {
  if [[ -f $arrived ]]; then
    local free
    free=$(($(stat --file-system --format '%a * %S' /var) / 1024 / 1024))
    [[ $free -ge 1024 ]] || fail "/var has $free MiB free, and this needs 1024: give the machine a larger disk"
    rm -rf "$bundle.new" && mkdir -p "$bundle.new"
    tar --extract --no-same-owner --file "$arrived" --directory "$bundle.new" \
      || fail "$arrived is cut: vagrant provision $(hostname)"
    rm -rf "$bundle" && mv "$bundle.new" "$bundle"
    rm "$arrived"
  fi
  [[ -f $bundle/requirements.lock ]] || fail "no bundle arrived: run vagrant provision $(hostname)"
}

check_release() { # packages of another release would break this one's
  local is wants
  [[ -f $bundle/release ]] || return 0
  # shellcheck source=/dev/null
  is=$(. /etc/os-release; echo "${VERSION_CODENAME:-$ID}")
  wants=$(<"$bundle/release")
  [[ $is == "$wants" ]] || fail "this box is $is, and the bundle is for $wants: correct box.release in lab.yaml, then vagrant provision"
}

name_in_hosts() { # or sudo waits for a DNS that may not be there
  grep --quiet --word-regexp "$(hostname)" /etc/hosts || echo "127.0.2.1 $(hostname)" >> /etc/hosts
}

list_missing() {
  comm -13 <(dpkg-query --show --showformat '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii //p' | sort) \
           <(printf '%s\n' "$@" | sort)
}

install_packages() {
  local wanted missing from=()
  mapfile -t wanted < <(sed -E 's/^#.*//; s/[[:space:]].*//; /^$/d' "$bundle/packages.txt")
  mapfile -t missing < <(list_missing "${wanted[@]}")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "installing ${missing[*]}"
  if [[ -d $bundle/debs ]]; then
    # Only the bundle: no archive is asked, on a machine without a way to one.
    echo "deb [trusted=yes] file:$bundle/debs ./" > "$bundle/sources.list"
    from=(-o "Dir::Etc::SourceList=$bundle/sources.list" -o Dir::Etc::SourceParts=-)
    from+=(-o "Dir::State::Lists=$bundle/lists" -o APT::Sandbox::User=root)
    mkdir -p "$bundle/lists"
  fi
  apt-get "${from[@]}" update --quiet=2 || fail "apt-get update failed; see above"
  apt-get "${from[@]}" install --yes --quiet=2 --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}" \
    > /dev/null || fail "apt-get could not install ${missing[*]}; on the host: rm -r vagrant/.lab, then vagrant provision"
}

stop_own_etcd() { # that of etcd-server's package: podwire has a unit of its own
  ! systemctl is-enabled --quiet etcd 2>/dev/null || systemctl disable --now --quiet etcd
}

install_podwire() {
  local wheel of
  wheel=$(ls "$bundle"/podwire-*.whl)
  of=$(sha256sum "$bundle/requirements.lock" | cut -d ' ' -f 1)
  if ! is_made requirements "$of" || [[ ! -x $venv/bin/python ]]; then
    say "making $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --no-index --find-links "$bundle/wheels" --require-hashes \
      --disable-pip-version-check --requirement "$bundle/requirements.lock" \
      || fail "a wheel is missing for $(python3 --version): correct box.python in lab.yaml, then vagrant provision"
    record requirements "$of"
    rm -f "$made/podwire"
  fi
  of=$(sha256sum "$wheel" | cut -d ' ' -f 1)
  is_made podwire "$of" && return
  say "installing $(basename "$wheel")"
  "$venv/bin/python" -m pip install --quiet --no-index --no-deps --force-reinstall --disable-pip-version-check "$wheel"
  ln -sf "$venv/bin/podwire" /usr/local/bin/podwire
  record podwire "$of"
}

configure_containerd() {
  local file=/etc/containerd/config.toml text
  # The agent makes the Pods' control groups by name (SystemdCgroup = false, docs/cri.md). A score below
  # containerd's own is refused in a machine that is a container.
  text=$(cat <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/$pause"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
TOML
)
  mkdir -p /etc/containerd
  systemctl enable --quiet containerd
  if [[ ! -f $file || $(<"$file") != "$text" ]]; then
    printf '%s\n' "$text" > "$file"
    systemctl restart containerd
  fi
  systemctl start containerd
}

import_image() { # NAME ARCHIVE WHAT
  ctr --namespace k8s.io images import "$2" > /dev/null || fail "containerd could not import the image $1; see: journalctl -u containerd"
  record "image-${1//[^a-z]/-}" "$3"
}

make_images() {
  # The sandboxes' image and podwire/tools: of this machine's busybox, because no registry need be there.
  local work of
  of=$(sha256sum /bin/busybox | cut -d ' ' -f 1)
  is_made "image-${pause//[^a-z]/-}" "$of" && is_made image-tools "$of" && return
  work=$(mktemp --directory)
  mkdir "$work/pause"
  cp /bin/busybox "$work/pause/"
  echo 'entrypoint: [/busybox, sleep, "2147483647"]' > "$work/pause.yaml"
  podwire image build "$pause" "$work/pause" --config "$work/pause.yaml" --output "$work/pause.tar" > /dev/null
  podwire image make-tools --output "$work/tools.tar" > /dev/null
  import_image "$pause" "$work/pause.tar" "$of"
  import_image tools "$work/tools.tar" "$of"
  rm -r "$work"
}

import_images() { # archives that lab.yaml names
  local archive of
  for archive in "$bundle"/images/*; do
    [[ -f $archive ]] || continue
    of=$(sha256sum "$archive" | cut -d ' ' -f 1)
    is_made "image-${of//[^a-z]/-}" "$of" || import_image "$of" "$archive" "$of"
  done
}

[[ $EUID -eq 0 ]] || fail "run as root"
[[ -d /run/systemd/system ]] || fail "this machine has no systemd: choose a box of Debian or Ubuntu"
command -v apt-get >/dev/null || fail "this machine has no apt: choose a box of Debian or Ubuntu"
name_in_hosts
unpack
check_release
install_packages
stop_own_etcd
install_podwire
configure_containerd
make_images
import_images
