# A kernel of Debian's in a folder, with an initramfs. Who sources this has fail().
shopt -s inherit_errexit # or half a kernel that was made in $(...) would be taken for a whole one

newest_package() {
  # newest_package META: linux-image-amd64 is empty and depends on the kernel of the day, by name
  apt-cache depends "$1" | sed -n 's/.*Depends: \(linux-image-6\.1.*\)/\1/p' | head -1
}

unpack_kernel() {
  # unpack_kernel PACKAGE FOLDER: fetch it, with what modprobe needs
  local package=$1 folder=$2 download
  (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$package") \
    || fail "apt-get could not fetch $package: apt-get update, and try again"
  download=("$folder"/*.deb)
  dpkg-deb -x "${download[0]}" "$folder"
  rm "${download[0]}"
  depmod -b "$folder" "${package#linux-image-}"
}

unpack_headers() {
  # unpack_headers VERSION FOLDER: the headers of that kernel, where bcc looks for them: beside its modules
  local version=$1 folder=$2 part download
  for part in "$version" "${version%-*}-common"; do
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "linux-headers-$part") \
      || fail "apt-get could not fetch linux-headers-$part: apt-get update, and try again"
    download=("$folder"/linux-headers-*.deb)
    dpkg-deb --fsys-tarfile "${download[0]}" | tar -x -C "$folder" --wildcards "./usr/src/linux-headers-$part/*"
    rm "${download[0]}"
    mv "$folder/usr/src/linux-headers-$part" "$folder/lib/modules/$version/"
  done
  ln -sfn "linux-headers-$version" "$folder/lib/modules/$version/build"
  ln -sfn "linux-headers-${version%-*}-common" "$folder/lib/modules/$version/source"
}

make_initramfs() {
  # make_initramfs FOLDER PACKAGE INIT MODULE...: busybox, INIT as first process, and the modules in
  # the order to load; where the kernel has one built in, there is nothing to load
  local folder=$1 version=${2#linux-image-} init=$3 image module file
  shift 3
  image=$(mktemp -d)
  mkdir -p "$image"/{bin,modules}
  : > "$image/modules/order"
  cp "$(command -v busybox)" "$image/bin/busybox"
  for module in "$@"; do
    modprobe -d "$folder" -S "$version" --show-depends "$module"
  done | sed -n 's/^insmod //p' | awk '!seen[$1]++ { print $1 }' | while read -r file; do
    cp "$file" "$image/modules/"
    basename "$file" >> "$image/modules/order"
  done
  cp "$init" "$image/init"
  (cd "$image" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) > "$folder/initramfs"
  rm -r "$image"
}
