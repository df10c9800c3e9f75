#!/bin/bash
# Builds the guest that the interoperability tests boot: a Debian kernel with ESP, L2TP, PPP and MPPE, a tiny initramfs, and an ext4
# root with strongSwan, xl2tpd and pppd. Needs root and apt; takes about a minute and 1 GB in the folder named by the first argument.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(mkdir -p "$1" && cd "$1" && pwd)
want=$(cat "$here/build.sh" "$here/init" | sha256sum | cut -c1-16)
[ "$(cat "$cache/built" 2>/dev/null)" = "$want" ] && exit 0
cd "$cache"
export DEBIAN_FRONTEND=noninteractive

tools=(qemu-system-x86 seabios mmdebstrap busybox-static cpio e2fsprogs kmod)
missing=()
for p in "${tools[@]}"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
if [ ${#missing[@]} -gt 0 ]; then
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

echo "guest: kernel"
rm -rf kernel && mkdir kernel
package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
(cd kernel && apt-get -o APT::Sandbox::User=root download -qq "$package" >/dev/null && dpkg -x ./*.deb tree)
cp kernel/tree/boot/vmlinuz-* vmlinuz
version=$(basename kernel/tree/lib/modules/*)

echo "guest: root file system"
packages=mount,util-linux,strongswan-charon,strongswan-swanctl,strongswan-pki,libcharon-extra-plugins
packages+=,libstrongswan-standard-plugins,libstrongswan-extra-plugins,xl2tpd,ppp,radvd,dhcpcd-base,iproute2,iptables,tcpdump,kmod,iputils-ping,procps,busybox-static
options=()
for f in /etc/apt/apt.conf.d/99*; do [ -f "$f" ] && options+=(--aptopt="$f"); done
release=$(. /etc/os-release && echo "$VERSION_CODENAME") # the kernel above is of this one, too
sources=
for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list /etc/apt/sources.list.d/*; do
	[ -z "$sources" ] && grep -qs "^[^#]*\b$release\b" "$f" && sources=$f
done
[ -n "$sources" ] || { echo "no file of /etc/apt names the packages of $release" >&2; exit 1; }
rm -rf root root.tar
mmdebstrap --quiet --variant=apt --include="$packages" "${options[@]}" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/etc/apt/sources.list*' \
	"$release" root.tar "$sources"
mkdir root
tar -C root -xf root.tar --exclude='./dev/*'
rm root.tar
modules=root/lib/modules/$version
mkdir -p "$modules"
for d in kernel/net kernel/crypto kernel/lib kernel/arch kernel/drivers/net/ppp kernel/drivers/virtio kernel/drivers/block/virtio_blk.ko \
	kernel/drivers/net/virtio_net.ko kernel/drivers/net/net_failover.ko kernel/drivers/net/veth.ko kernel/drivers/net/slip kernel/fs/9p \
	kernel/fs/netfs kernel/fs/fscache kernel/fs/ext4 kernel/fs/jbd2 kernel/fs/mbcache.ko kernel/net/core kernel/drivers/char/hw_random; do
	[ -e "kernel/tree/lib/modules/$version/$d" ] || continue
	mkdir -p "$modules/$(dirname $d)"
	cp -a "kernel/tree/lib/modules/$version/$d" "$modules/$(dirname $d)/"
done
cp kernel/tree/lib/modules/"$version"/modules.* "$modules/"
chroot root depmod "$version"
install -m755 "$here/init" root/guest-init
mkdir -p root/lab root/proc root/sys root/dev root/run

echo "guest: initramfs and image"
rm -rf early && mkdir -p early/bin early/m early/proc early/sys early/dev early/r
cp "$(command -v busybox)" early/bin/busybox
number=100
for m in virtio_pci virtio_blk ext4 virtio_net; do
	for file in $(chroot root modprobe -S "$version" --show-depends $m | awk '$1 == "insmod" {print $2}'); do
		ls early/m/*-"$(basename "$file")" >/dev/null 2>&1 && continue
		cp "root$file" "early/m/$number-$(basename "$file")"
		number=$((number + 1))
	done
done
cat >early/init <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
/bin/busybox mount -t sysfs s /sys
/bin/busybox mount -t devtmpfs d /dev
for m in /m/*; do /bin/busybox insmod $m 2>/dev/null; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do /bin/busybox usleep 50000; n=$((n + 1)); done
/bin/busybox mount -t ext4 -o rw /dev/vda /r || exec /bin/busybox sh
/bin/busybox mount --move /dev /r/dev
/bin/busybox umount /proc /sys
exec /bin/busybox switch_root /r /guest-init
INIT
chmod 755 early/init
(cd early && find . | cpio -o -H newc --quiet | gzip -1 >../initrd.gz)
rm -f root.ext4
truncate -s 900M root.ext4
mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -d root root.ext4
rm -rf root early kernel
echo "$want" >built
echo "guest: ready in $cache"
