"""A systemd that boots as process 1 of namespaces of its own, over this machine's files.

    with Machine(store) as machine:
        machine.write("etc/systemd/system/hello.service", "...")
        machine.boot()
        machine.run("systemctl", "is-active", "hello")
        machine.power_off()         # at once, as a power failure would

What it writes goes to `store`, a directory on a tmpfs, and is there again at the next boot. It sees its own processes, netdevs,
cgroups and bpffs, and cannot change what belongs to the whole machine: /sys and /proc/sys (but for net) are read-only, and the
capabilities to set the clock or load modules are gone. None of the units that this machine has enabled are started.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

SYSTEMD = "/lib/systemd/systemd"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_WITHOUT = "-sys_time,-sys_module,-sys_rawio,-audit_control,-audit_read,-syslog"
_ENTER = f"""
echo $$ > {{group}}/cgroup.procs
exec unshare --pid --fork --kill-child --mount --net --uts --ipc --cgroup sh -euc '
root={{store}}/root
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir={{store}}/upper,workdir={{store}}/work $root
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,ro,bind $root/proc/sys
mount --bind /proc/sys/net $root/proc/sys/net
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t bpf bpf $root/sys/fs/bpf
for place in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $root/$place; done
for node in null zero full random urandom tty; do : >$root/dev/$node; mount --bind /dev/$node $root/dev/$node; done
mount --bind {{store}}/upper/etc/systemd/system $root/etc/systemd/system
for place in $root/etc/init.d $root/etc/rc?.d; do if [ -d $place ]; then mount -t tmpfs -o ro tmpfs $place; fi; done  # what others start
{{binds}}
exec setpriv --bounding-set={_WITHOUT} \\
    chroot $root env -i container=test PATH={_PATH} {SYSTEMD} --unit=multi-user.target
'
"""


def missing() -> str:
    """What this machine lacks for a nested systemd; '' if nothing."""
    kinds = Path("/proc/filesystems").read_text().split()
    tools = [tool for tool in (SYSTEMD, "nsenter", "unshare", "setpriv", "chroot") if shutil.which(tool) is None]
    return ", ".join(tools + [f"{kind} in the kernel" for kind in ("overlay", "cgroup2") if kind not in kinds])


class Container:
    """`shared` are directories that it sees at other places: {from: to}."""

    def __init__(self, store: Path, shared: dict[Path, str] | None = None) -> None:
        self._store, self._shared = store, shared or {}
        self._groups = store / "cgroups"
        self._group = self._groups / f"pcn-test-{os.getpid()}"
        self._holder: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Container:
        for name in ("upper/etc/systemd/system", "work", "root", "cgroups"):
            (self._store / name).mkdir(parents=True)
        self.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")  # without one, the first boot enables all there is
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", self._groups], check=True)
        self._group.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()
        for directory, *_ in os.walk(self._group, topdown=False):
            os.rmdir(directory)
        subprocess.run(["umount", self._groups], check=True)
        shutil.rmtree(self._store)

    def write(self, path: str, text: str) -> None:
        """A file of the machine's, as seen at its next boot."""
        file = self._store / "upper" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def link(self, path: str, target: str) -> None:
        link = self._store / "upper" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def boot(self, seconds: float = 60.0) -> str:
        """Start, and wait until systemd has started all there is; gives what `systemctl is-system-running` says."""
        binds = "\n".join(f"mkdir -p $root{to}; mount --bind {source} $root{to}" for source, to in self._shared.items())
        script = _ENTER.format(store=self._store, group=self._group, binds=binds)
        with (self._store / "boot.log").open("ab") as log:
            self._holder = subprocess.Popen(["sh", "-euc", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._holder.poll() is None:
            self._init = self._init or self._child_called("systemd")
            said = self.run("systemctl", "is-system-running", check=False) if self._init else ""
            if said in ("running", "degraded"):
                return said
            time.sleep(0.1)
        raise AssertionError(f"no systemd within {seconds} s\n{(self._store / 'boot.log').read_text()}")

    def _child_called(self, name: str) -> int:
        assert self._holder is not None
        pid = self._holder.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return int(child)
        return 0

    def run(self, *words: str, check: bool = True, timeout: float = 20.0) -> str:
        """What a command in the machine prints. One that fails is an AssertionError, if `check` is set."""
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def command(self, *words: str) -> list[str]:
        """What runs a command in the machine."""
        return ["nsenter", "-t", str(self._init), "--all", "--root", "env", "-i", f"PATH={_PATH}", "--chdir=/", *words]

    def power_off(self) -> None:
        """End process 1, and with it everything in the machine."""
        if self._holder is not None:
            if self._init:
                os.kill(self._init, signal.SIGKILL)
            else:
                self._holder.kill()
            self._holder.wait(10)
            self._holder, self._init = None, 0
