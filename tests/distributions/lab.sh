# shellcheck shell=sh
# Debian roots, and virtual machines with Debian's kernels. Sourced by scripts/test-distributions and scripts/test-kernels, whose
# working directory is the project's.
#
# $cache/SUITE.base     debootstrap's minimal root, with nothing in it that pcn needs
# $cache/SUITE.root     the same after scripts/setup, which runs anew when what it reads has changed; the project is at /pcn
# $cache/SUITE.package  the bare root with pcn's .deb
# $cache/SUITE.kernel   the distribution's kernel and its modules, as their package has them
#
# What cannot be fetched fails the run, in plain sight: nothing would be proven by leaving it out.

if [ -n "${XDG_CACHE_HOME-}" ]; then cache=$XDG_CACHE_HOME/pcn-test; else cache=/var/cache/pcn-test; fi
mirror=${PCN_TEST_MIRROR:-http://deb.debian.org/debian}

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
fail() {
    printf '%s: FAILED: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

begin() { # command=package...: install those that are missing, and have the cache for ourselves
    [ "$(id -u)" = 0 ] || { echo "${0##*/}: needs root" >&2; exit 77; }
    missing=
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
    done
    if [ -n "$missing" ]; then
        command -v apt-get >/dev/null || fail "needs$missing"
        say "installing$missing"
        # shellcheck disable=SC2086  # a list of package names
        apt_get install $missing >/dev/null 2>&1 || { apt_get update && apt_get install $missing >/dev/null; } || fail "apt-get has no$missing"
    fi
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock 9
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -y --no-install-recommends "$@" </dev/null; }

make_root() { # SUITE: sets $root
    base=$cache/$1.base root=$cache/$1.root
    if [ ! -d "$base" ]; then
        say "debootstrap of $1, from $mirror"
        rm -rf "$base.new"
        debootstrap --variant=minbase "$1" "$base.new" "$mirror" >"$base.log" 2>&1 ||
            fail "$1 could not be made from $mirror: $(tail -n 1 "$base.log")"
        mv "$base.new" "$base"
    fi
    stamp=$(cat pyproject.toml scripts/setup tests/distributions/lab.sh | cksum)
    if [ "$(cat "$root/pcn/.made-from" 2>/dev/null)" != "$stamp" ]; then
        say "$1: a bare root"
        rm -rf "$root"
        cp -a "$base" "$root"
        mkdir "$root/pcn"
    fi
    find "$root/pcn" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .made-from -exec rm -rf {} +
    project | tar -c --null --ignore-failed-read -T - | tar -x -C "$root/pcn"
}

finish_root() { # what tests need, and then it is as it should be: keep it
    with_network scripts/setup --dev --no-browser
    [ -e "$root/usr/sbin/modprobe" ] || with_network env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends kmod >/dev/null
    rm -f "$root/var/cache/apt/archives/"*.deb
    echo "$stamp" >"$root/pcn/.made-from"
}

install_package() { # SUITE PACKAGE: sets $root, a bare one in which a .deb is installed as a user would
    root=$cache/$1.package
    rm -rf "$root"
    cp -a "$cache/$1.base" "$root"
    mkdir "$root/pcn"
    cp "$2" "$root/pcn"
    with_network sh -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq -o APT::Sandbox::User=root install -y --no-install-recommends ./*.deb iproute2 iputils-ping' >"$root.log" 2>&1 ||
        fail "$1: the package is not installed: $(tail -n 3 "$root.log")"
}

project() { # its files, each ended by a zero byte
    if [ -e .git ]; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . \( -name .venv -o -name __pycache__ \) -prune -o \( -type f -o -type l \) -print0
    fi
}

# Both run a command in $root, from /pcn, in a mount namespace of its own. The first has this machine's network, for apt and pip, and what
# this machine knows of name servers, proxies and certificates; the second a network, a bpffs and a /run of its own.
with_network() {
    cp -L /etc/resolv.conf "$root/etc/"
    cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        mkdir -p "$root/etc/ssl"
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/machine.crt"
        set -- env PIP_CERT=/etc/ssl/machine.crt REQUESTS_CA_BUNDLE=/etc/ssl/machine.crt "$@"
    fi
    enter "" "$@"
}
secluded() { enter --net "$@"; }

enter() { # what unshare is told besides, command...
    net=$1
    shift
    # shellcheck disable=SC2016  # for the shell within
    unshare --mount --propagation private ${net:+"$net"} sh -euc '
        net=$1 root=$2
        shift 2
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc proc
        mount --rbind /dev dev
        mount -t tmpfs tmpfs run
        mount -t tmpfs tmpfs tmp
        if [ -n "$net" ]; then
            mkdir run/netns
            mount -t sysfs sysfs sys
            mount -t bpf bpf sys/fs/bpf
            ip link set lo up
        fi
        export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        exec chroot . sh -euc "cd /pcn; exec \"\$@\"" sh "$@"
    ' sh "$net" "$root" "$@"
}

# --- virtual machines -------------------------------------------------------------------------------------------------

make_kernel() { # SUITE: sets $kernel, $modules; needs $root
    kernel=$cache/$1.kernel
    if [ ! -d "$kernel" ]; then
        say "$1: fetching its kernel"
        # shellcheck disable=SC2016  # for the shell in the root
        with_network sh -euc '
            cd /var/tmp
            apt-get -qq update
            apt-get -qq -o APT::Sandbox::User=root download "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: //p")"' ||
            fail "the kernel of $1 could not be fetched from $mirror"
        rm -rf "$kernel.new"
        dpkg -x "$root"/var/tmp/linux-image-*.deb "$kernel.new"
        rm "$root"/var/tmp/linux-image-*.deb
        mv "$kernel.new" "$kernel"
    fi
    version=$(basename "$kernel"/boot/vmlinuz-*)
    version=${version#vmlinuz-}
    [ ! -d "$kernel/usr/lib/modules" ] || ln -sfn usr/lib "$kernel/lib"
    [ -e "$kernel/lib/modules/$version/modules.dep" ] || depmod -b "$kernel" "$version"
}

drivers="veth dummy vxlan bridge macvlan ifb sch_ingress cls_bpf 8021q"

pack() { cpio --quiet --create --format=newc; } # files that standard input names

# boot SECONDS DIRECTORY: Debian's kernel with $root in memory, and over it what DIRECTORY has, of which /job is run.
# Gives its exit code.
boot() {
    limit=$1 more=$2
    image=$more.$version.cpio modules=$more.$version.modules log=$more.$version.log
    rm -rf "$modules"
    place=usr/lib/modules/$version # not lib, which is a link there
    mkdir -p "$modules/$place"
    cp "$kernel/lib/modules/$version"/modules.* "$modules/$place"
    for driver in $drivers; do
        modprobe --set-version "$version" --dirname "$kernel" --show-depends "$driver"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
        install -D "$file" "$modules/$place/${file#*/"$version"/}"
    done
    (cd "$root" && find . \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./var -o -path ./usr/share -o -name __pycache__ -o \
        -name 'libLLVM*' -o -name 'libclang*' -o -name 'llvm-*' -o -path './pcn/.venv/*/mypy' -o -path './pcn/.venv/*/playwright' -o \
        -name ruff \) -prune -o -print | pack) >"$image"
    (cd "$modules" && find . | pack) >>"$image"
    (cd "$more" && find . | pack) >>"$image"
    say "$version: $(du -m "$image" | cut -f 1) MiB of root" # it may fill half of the memory
    timeout "$limit" qemu-system-x86_64 -accel tcg -cpu max -smp 1 -m 4G -nodefaults -no-reboot \
        -display none -serial "file:$log" -kernel "$kernel/boot/vmlinuz-$version" -initrd "$image" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr rdinit=/init" || true
    rm -f "$image"
    cat "$log"
    ended=$(tr -d '\r' <"$log" | sed -n 's/^job ended with \([0-9]*\) .*/\1/p')
    [ -n "$ended" ] || { say "the machine stopped before its job ended, or took longer than $limit seconds" && return 1; }
    return "$ended"
}
