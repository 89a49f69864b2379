#!/usr/bin/env bash
# skopeo --override-arch amd64 copies an image of s390x without a word, when the image is not in an index.
#
# One would guess: asked for an architecture, skopeo fails where there is none of it, as it does with an index of
#   several platforms.
# What happens: the option chooses from an index. Without one there is nothing to choose, and what the image's
#   configuration says is not looked at: the copy ends with 0, and nothing is said. Without the option likewise: a
#   machine of amd64 takes the image, and its programs end with "exec format error" later, in a Pod.
#   The same image as the only entry of an index is refused.
# So: read "architecture" and "os" from the image's configuration after a copy ("skopeo inspect", "Architecture").
# Seen with: skopeo 1.9.3 (Debian 12), November 2026.
source "$(dirname "$0")/common.bash"
debian skopeo=1.9.3+ds1-1+b10 libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1

seen <<'SCRIPT'
python3 - <<'PYTHON'
import hashlib, io, json, pathlib, tarfile

image = pathlib.Path("image")
(image / "blobs/sha256").mkdir(parents=True)

def kept(content, kind):
    digest = hashlib.sha256(content).hexdigest()
    (image / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

def document(kind, **fields):
    media = {"schemaVersion": 2, "mediaType": f"application/vnd.oci.image.{kind}"} if "rootfs" not in fields else {}
    return kept(json.dumps(media | fields).encode(), kind)

def named(descriptor, name):
    return descriptor | {"annotations": {"org.opencontainers.image.ref.name": name}}

archive = io.BytesIO()
tarfile.open(fileobj=archive, mode="w").close()
layer = kept(archive.getvalue(), "layer.v1.tar")
platform = {"architecture": "s390x", "os": "linux"}
config = document("config.v1+json", **platform, rootfs={"type": "layers", "diff_ids": [layer["digest"]]})
single = document("manifest.v1+json", config=config, layers=[layer])
index = document("index.v1+json", manifests=[single | {"platform": platform}])
(image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
(image / "index.json").write_text(json.dumps(
    {"schemaVersion": 2, "manifests": [named(single, "single"), named(index, "index")]}))
PYTHON
for name in single index; do
  echo "$name:"
  if skopeo --insecure-policy --override-arch amd64 copy --quiet "oci:image:$name" "dir:$name" 2> said; then
    echo "skopeo ends with 0, said $(wc -c < said) bytes, and copied $(skopeo inspect "dir:$name" | grep Architecture)"
  else
    echo "skopeo ends with $?: $(grep -o 'no image found.*architecture [a-z0-9]*' said)"
  fi
done
SCRIPT

expect <<'TEXT'
single:
skopeo ends with 0, said 0 bytes, and copied     "Architecture": "s390x",
index:
skopeo ends with 1: no image found in image index for architecture amd64
TEXT
