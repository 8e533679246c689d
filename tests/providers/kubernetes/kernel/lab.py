"""A Kubernetes node without Kubernetes: an API server of recorded objects, an agent, a provider, and pods by CNI calls.

    with NodeLab(tmp_path) as lab:
        a = lab.add("a", app="web")
        b = lab.add("b")
        assert lab.reaches(b, a.ip, 8080)

The thread is in a network namespace that is the node; `outside` is a host behind the node's eth0.
"""
from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.agent import singleton
from reconciler.kernel import netlink, netns, rtnl
from reconciler.model import Link, LinkEnd, Route
from tests.lib.agent_process import AgentProcess
from tests.lib.netns_topology import NetnsTopology, settle
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.api_server import ApiServer
from tests.providers.kubernetes.stubs import PYTHON

ROOT = Path(__file__).resolve().parents[4]
_PROVIDER = "import sys; from providers.kubernetes.main import main; sys.exit(main())"
NODE, OUTSIDE = "172.30.0.11", "172.30.0.100"
OTHER, FAR_POD = "172.30.0.12", "10.244.2.8"  # another node and a pod of it, which are in the namespace `outside` too
NODE6, OUTSIDE6 = "fd00:30::11", "fd00:30::100"
PODS = ("10.244.1.0/24", "fd00:244:0:1::/64")
SERVICES = ("10.96.0.0/16", "fd00:96::/112")


@dataclass(frozen=True)
class Pod:
    name: str
    netns: str
    container: str
    ips: tuple[str, ...]

    @property
    def ip(self) -> str:
        return self.ips[0]


class NodeLab:
    """`slots` as of the provider, and `more` of its words; `known` puts in the API what is there from the start. `beside` another one, it is a second node, n2, on the same wire. What is made is taken away at the end."""

    def __init__(self, directory: Path, *, slots: int = 12, ranges: tuple[str, ...] = PODS, more: tuple[str, ...] = (),
                 beside: NodeLab | None = None, known: Callable[[ApiServer], object] = id) -> None:
        self.directory, self.slots, self.ranges, self.more, self.beside = directory, slots, ranges, more, beside
        self.node = "n1" if beside is None else "n2"
        self._known = known
        self.pods: dict[str, Pod] = {}
        self._open = contextlib.ExitStack()
        self._serial = 0
        self.plugin: tuple[str, ...] = PYTHON

    def __enter__(self) -> NodeLab:
        with contextlib.ExitStack() as stack:
            stack.enter_context(netns.throwaway())
            netns.raise_loopback()
            self.world = stack.enter_context(NetnsTopology(ipv6=True))
            self.root = self.world.bpffs
            self.outside = self.world.namespace("outside") if self.beside is None else self.beside.outside
            self._uplink()
            self.api = stack.enter_context(ApiServer())
            self.api.put("nodes", objects.node("n1", self.ranges if self.beside is None else PODS, NODE, NODE6))
            self.api.put("nodes", objects.node("n2", ("10.244.2.0/24", "fd00:244:0:2::/64"), OTHER, "fd00:30::12"))
            self.api.put("namespaces", objects.namespace("default", **{"kubernetes.io/metadata.name": "default"}))
            self._known(self.api)
            self.config = self.directory / "kubeconfig"
            self.config.write_text(json.dumps({
                "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.api.port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}]}))  # fmt: skip
            (self.directory / "files").mkdir(exist_ok=True)
            stack.callback(self._leave)
            self.agent = stack.enter_context(AgentProcess(self.root, self.directory / "agent.log", str(self.directory / "files"), patience=120))
            self.provider = self.start_provider()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *what: Any) -> None:
        self._open.__exit__(*what)  # with what a test failed of, which stays to be seen if this fails too

    def _uplink(self) -> None:
        if self.beside is not None:
            return self._second_uplink()
        with netlink.Netlink() as maker:
            near = LinkEnd("eth0", None, (f"{NODE}/24", f"{NODE6}/64"), (Route("default", OUTSIDE),))
            far = LinkEnd("eth0", self.outside, (f"{OUTSIDE}/24", f"{OTHER}/24", f"{FAR_POD}/32", f"{OUTSIDE6}/64"),
                          (Route("10.244.1.0/24", NODE), Route("198.51.100.0/24", NODE), Route("fd00:244::/48", NODE6)))  # fmt: skip
            maker.create_link(Link("veth", near, far), self.world.group, "made by a test of pcn")
        netlink.configure(near)
        netlink.configure(far)
        settle(("eth0", None), ("eth0", self.outside))
        return None

    def _second_uplink(self) -> None:
        """A wire into the namespace outside, where a bridge joins it with the first node's; its own addresses go."""
        with netlink.Netlink() as maker:
            near = LinkEnd("eth0", None, (f"{OTHER}/24", "fd00:30::12/100"))
            maker.create_link(Link("veth", near, LinkEnd("eth1", self.outside)), self.world.group, "made by a test of pcn")
        netlink.configure(near)
        for words in ("addr flush dev eth0", "link add br0 type bridge", "link set br0 up", "link set eth0 master br0",
                      "link set eth1 master br0", "link set eth1 up", f"addr add {OUTSIDE}/24 dev br0"):  # fmt: skip
            subprocess.run(["ip", "-n", self.outside, *words.split()], check=True)
        settle(("eth0", None))

    def start_provider(self, *more: str) -> subprocess.Popen[bytes]:
        ranges = [word for each in SERVICES[: len(self.ranges)] for word in ("--service-range", each)]
        words = ["run", "--node", self.node, "--kubeconfig", str(self.config), "--slots", str(self.slots), *ranges, "--cni-conf",
                 str(self.directory / "net.d"), "--bpffs", self.root, *self.more, *more]  # fmt: skip
        with (self.directory / "provider.log").open("ab") as out:
            process = subprocess.Popen([sys.executable, "-c", _PROVIDER, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.provider = process
        self.until(lambda said: said["healthy"], 100)  # programs may have to be compiled first
        return process

    def _leave(self) -> None:
        for process in (self.provider, self.agent.process):
            if process.poll() is None:
                process.terminate()
                process.wait(10)
        for name in rtnl.links():
            if name.startswith("pod"):
                netlink.linkwrite.delete_link(name)
        words = [ROOT / "bin/pcn", "delete", "kubernetes-node", "--bpffs", self.root]
        done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log()}"
        netlink.linkwrite.delete_link("eth0")

    def log(self) -> str:
        return (self.directory / "provider.log").read_text() + self.agent.text()

    def status(self) -> dict[str, Any]:
        return singleton.ask(self.root, 1.0, what="k8s") or {}

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not ((said := self.status()) and condition(said)):
            assert self.provider.poll() is None, self.log()
            assert time.monotonic() < deadline, f"{said}\n{self.log()}"
            time.sleep(0.02)

    def command(self, *words: str) -> str:
        """What a verb of pcn-k8s prints."""
        done = subprocess.run([sys.executable, "-c", _PROVIDER, *words, "--bpffs", self.root], cwd=ROOT, capture_output=True, text=True,
                              timeout=60, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout

    @contextlib.contextmanager
    def refusals(self) -> Iterator[list[dict[str, Any]]]:
        """What `pcn-k8s refused -f` prints meanwhile."""
        told: list[dict[str, Any]] = []
        process = subprocess.Popen([sys.executable, "-c", _PROVIDER, "refused", "-f", "-o", "json", "--bpffs", self.root], cwd=ROOT,
                                   stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)  # fmt: skip
        thread = threading.Thread(target=lambda: told.extend(map(json.loads, process.stdout or ())), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            process.terminate()
            process.wait(10)
            thread.join()
            assert process.stdout is not None
            process.stdout.close()

    def within(self, seconds: float, condition: Callable[[], bool]) -> float:
        """Seconds until it holds."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, self.log()
            time.sleep(0.02)
        return time.monotonic() - began

    # -- pods ---------------------------------------------------------------------------------------------------------

    def cni(self, verb: str, pod: str = "", container: str = "", space: str = "", *, version: str = "1.0.0", config: dict[str, Any] | None = None,
            under: tuple[str, ...] = ()) -> tuple[int, Any]:  # fmt: skip
        """The plugin as a runtime calls it: exit code and what it printed. `under` a command that runs it."""
        environment = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{space}" if space else "", "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
            "PCN_CNI_SOCKET": singleton.socket_path(self.root, "cni"), "PCN_CNI_FALLBACK": str(ROOT / "bin/pcn-k8s"), "PCN_BPFFS": self.root,
        }  # fmt: skip
        said = {"cniVersion": version, "name": "pcn", "type": "pcn", **(config or {})}
        done = subprocess.run([*under, *self.plugin], input=json.dumps(said), env=environment, text=True, capture_output=True, timeout=60, check=False)
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def add(self, name: str, space: str = "", *, ports: tuple[dict[str, Any], ...] = (), **labels: str) -> Pod:
        """A pod as kubelet and a runtime make one, in a namespace that is there or in one of its own."""
        self.api.put("pods", objects.pod(name, self.node, phase="Pending", ports=ports, **labels))
        self._serial += 1
        space = space or self.world.namespace(f"{name}{self._serial}")
        container = f"c{self._serial}-{name}"
        code, said = self.cni("ADD", name, container, space)
        assert code == 0, f"{said}\n{self.log()}"
        ips = tuple(each["address"].partition("/")[0] for each in said["ips"])
        self.api.put("pods", objects.pod(name, self.node, ips=ips, ports=ports, **labels))
        self.pods[name] = Pod(name, space, container, ips)
        return self.pods[name]

    def remove(self, pod: Pod) -> None:
        code, said = self.cni("DEL", pod.name, pod.container, pod.netns)
        assert code == 0, said
        self.api.delete("pods", "default", pod.name)

    # -- packets --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def serving(self, space: str | None, port: int, word: str = "", *, udp: bool = False, v6: bool = False) -> Iterator[None]:
        """A server that says its word and whom it sees as its client."""
        family = socket.AF_INET6 if v6 else socket.AF_INET
        with netns.inside(space):
            sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::" if v6 else "0.0.0.0", port))
        if not udp:
            sock.listen(64)
        thread = threading.Thread(target=_serve_udp if udp else _serve, args=(sock, word), daemon=True)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @contextlib.contextmanager
    def collecting(self, space: str, port: int) -> Iterator[list[str]]:
        """The addresses from which datagrams come."""
        got: list[str] = []
        with netns.inside(space):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        sock.settimeout(0.05)
        ended = threading.Event()
        thread = threading.Thread(target=_collect, args=(sock, got, ended), daemon=True)
        thread.start()
        try:
            yield got
        finally:
            ended.set()
            thread.join()
            sock.close()

    def send(self, space: str, address: str, port: int) -> None:
        with netns.inside(space):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            for _ in range(3):
                sock.sendto(b"!", (address, port))

    @contextlib.contextmanager
    def sending(self, space: str, address: str, port: int) -> Iterator[list[int]]:
        """Datagrams from there, one after another, as soon as there is a way; how many the kernel has taken."""
        with netns.inside(space):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sent, ended = [0], threading.Event()

        def send() -> None:
            while not ended.is_set():
                try:
                    sock.sendto(b"!", (address, port))
                    sent[0] += 1
                except OSError:  # there is no way yet, or no more
                    pass
                time.sleep(0.0005)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield sent
        finally:
            ended.set()
            thread.join()
            sock.close()

    def ask(self, space: str | None, address: str, port: int, seconds: float = 2.0, *, udp: bool = False, source: str = "") -> str:
        """What a server there answers; '' if nothing, 'refused' if it is refused."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.inside(space):
            sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        with sock:
            sock.settimeout(seconds)
            if source:
                sock.bind((source, 0))
            try:
                sock.connect((address, port))
                if udp:
                    sock.send(b"?")
                return sock.recv(200).decode()
            except ConnectionRefusedError:
                return "refused"
            except (TimeoutError, OSError):
                return ""


    def say(self, space: str | None, address: str, port: int, words: str) -> str:
        """What a TCP server answers to words."""
        with netns.inside(space):
            sock = socket.create_connection((address, port), 2.0)
        with sock:
            sock.sendall(words.encode())
            return sock.recv(2000).decode()


def _collect(sock: socket.socket, got: list[str], ended: threading.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError, OSError):
            address = sock.recvfrom(100)[1][0]
            if address not in got:
                got.append(address)


def _serve(sock: socket.socket, word: str) -> None:
    while True:
        try:
            connection, client = sock.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"{word} {client[0]}".encode())


def _serve_udp(sock: socket.socket, word: str) -> None:
    while True:
        try:
            _, client = sock.recvfrom(100)
            if client is None:  # shut down
                return
            sock.sendto(f"{word} {client[0]}".encode(), client)
        except OSError:
            return
