"""The rule sets of real hosts in the kernel's own iptables, and the cube that the import makes of them in its place: the same packets come
through INPUT. All files of which the import carries over the whole table filter.
"""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cubes.iptables import IMPORTS
from tests.services.firewall.input_lab import InputHost
from tests.services.firewall.kernel.test_iptables_files import A_SECOND, LEAST, ON_TIME, addressed, probes
from tests.services.firewall.test_iptables_files import FILES, options_of

FILTER = re.compile(r"^\*filter$(.*?)^COMMIT$", re.MULTILINE | re.DOTALL)


def whole(file: Path) -> bool:
    """Whether nothing of the table filter is lost but rules that only count."""
    table = FILTER.findall(file.read_text("utf-8"))
    if file.suffix != ".v4" or not table:
        return False
    lost = IMPORTS["iptables-save"].read({"f": f"*filter{table[0]}COMMIT\n"}, {}).lost
    return all(problem.severity == "warning" for problem in lost)


WHOLE = [file for file in FILES if whole(file)]


def test_most_hosts_rules_are_carried_over_whole() -> None:
    """What else there is asks for NAT or for other matches."""
    assert {file.name for file in WHOLE} >= {
        "01-home-router.v4", "03-firewalld-desktop.v4", "06-mail-fail2ban.v4", "08-openwrt-dmz.v4", "12-nas.v4", "16-ppp-home-hardened.v4",
        "22-shared-hosting.v4", "25-strict-host.v4", "30-docker-ufw-like.v4",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", WHOLE, ids=lambda path: path.name)
def test_packets_come_through_as_they_do_through_the_kernels_iptables(file: Path) -> None:
    (table,) = FILTER.findall(file.read_text("utf-8"))
    options = options_of(file.read_text("utf-8"), 4)
    sent = probes(file.name, table, 4, options)
    with InputHost(options["netdev"], 4, options.get("address", ())) as host:
        subprocess.run(["iptables-legacy-restore"], input=f"*filter{table}COMMIT\n", text=True, check=True, capture_output=True)
        came, wanted = host.fates(addressed(host, sent))
    spec = IMPORTS["iptables-save"].read({"f": f"*filter{table}COMMIT\n"}, {}).document["spec"]
    with InputHost(options["netdev"], 4, options.get("address", ())) as host:
        host.spec |= {"cubes": spec["cubes"], "attachments": spec["attachments"]}
        host.apply()
        _, passed = host.fates(addressed(host, sent))
    assert len(came) >= LEAST
    differ = sorted((passed ^ wanted) & came)
    assert len(differ) <= (A_SECOND if ON_TIME.search(table) else 0), [(sent[place][0], sent[place][1][14:].hex()) for place in differ[:10]]
