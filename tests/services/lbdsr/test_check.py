"""What a load balancer with direct return refuses, and its rows: without a kernel."""
from __future__ import annotations

import pytest

from cubes.lbdsr import check
from cubes.lbdsr.rows import derive
from reconciler.check import check as check_documents
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from reconciler.service.sdk import Env
from tests.services.lbrp.test_rows import Table, layout

MAC = "02:00:00:00:00:01"
WRONG = [
    ({"frontend": {"vip": "224.0.0.1"}}, "/frontend/vip", "no address"),
    ({"frontend": {"mac": "01:01:01:aa:bb:cc"}}, "/frontend/mac", "no MAC address of a station"),
    ({"frontend": {"vip": "10.0.0.1"}, "backend": {"pool": [{"id": 1, "mac": "ff:ff:ff:ff:ff:ff"}]}}, "/backend/pool/0/mac", "station"),
    ({"frontend": {"vip": "10.0.0.1"}, "backend": {"pool": [{"id": 1, "mac": MAC, "weight": 0}]}}, "/backend/pool/0/weight", "weight 0"),
    ({"frontend": {"vip": "10.0.0.1"}, "service": [{"vip": "10.0.0.1"}]}, "/service/0/vip", "already"),
    ({"service": [{"vip": "10.0.0.1", "pool": [{"id": 1, "mac": MAC, "mode": "IPIP"}]}]}, "/service/0/pool/0", "needs the address"),
    ({"service": [{"vip": "10.0.0.1", "pool": [{"id": 1, "mac": MAC, "mode": "GUE", "ip": "10.1.0.1"}]}]}, "/service/0/pool/0/ip", "tunnel-ip"),
    ({"service": [{"vip": "10.0.0.1", "pool": [{"id": 1, "mac": MAC, "ip": "10.1.0.1"}]}]}, "/service/0/pool/0/ip", "IPIP and GUE"),
    ({"ports": [{"name": "a", "type": "FRONTEND"}, {"name": "b", "type": "BACKEND"}, {"name": "c", "type": "BACKEND"}]},
     "/ports/2/type", "there can be one"),
    ({"service": [{"vip": "10.0.0.1", "pool": [{"id": 1, "mac": MAC, "check-ip": "10.1.0.1"}], "health-check": {}}]},
     "/service/0/health-check", "needs the port"),
    ({"frontend": {"vip": "10.0.0.1"}, "backend": {"pool": [{"id": 1, "mac": MAC}], "health-check": {"port": 80}}},
     "/backend/pool/0", "check-ip"),
    ({"frontend": {"vip": "10.0.0.1"}, "backend": {"pool": [], "health-check": {"port": 80, "timeout": 6}}},
     "/backend/health-check/timeout", "asked again after 5 s"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "path", "words"), WRONG, ids=[path for _, path, _ in WRONG])
def test_what_makes_no_sense_is_an_error_at_its_place(config, path, words):
    errors = [(steps, sentence) for steps, sentence, severity in check(config, Env()) if severity == "error"]
    assert [("/" + "/".join(map(str, steps))) for steps, _ in errors] == [path]
    assert words in errors[0][1]


HEAD = "- name: lb\n  service-name: lbdsr\n  frontend: {vip: 10.0.0.1}\n"
SAID = [
    ("  backend: {pool: [{id: 1, mac: '02:00:00:00:00:01', weight: 0}]}\n", "4:62: /spec/cubes/lb/backend/pool/1/weight: all backends have weight 0"),
    ("  backend: {pool: [{id: 1, mac: '02:00:00:00:00:01', mode: IPIP, ip: 10.9.0.1}]}\n", "4:70: /spec/cubes/lb/backend/pool/1/ip: frontend needs tunnel-ip"),
    ("  service: [{vip: 10.0.0.1}]\n", "4:19: /spec/cubes/lb/service/10.0.0.1/vip: 10.0.0.1 is a virtual address already"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), SAID, ids=["weights", "family", "twice"])
def test_an_error_says_file_line_and_column(text, said):
    with pytest.raises(DocumentError) as caught:
        check_documents(parse(HEAD + text, "file.yaml"), Services())
    assert str(caught.value).startswith(f"file.yaml:{said}"), caught.value


def test_ids_and_order_say_nothing_of_who_gets_what():
    tables = {"services": Table(None, layout(number=4, size=4)), "members": Table(None, layout(mac=6, mode=1, flags=1, ip=16))}
    pool = [{"id": number, "mac": f"02:00:00:00:00:{number:02x}", "weight": number} for number in range(1, 9)]
    other = [{**entry, "id": 100 - entry["id"]} for entry in reversed(pool)]
    frontend = {"vip": "10.0.0.1"}
    assert derive({"frontend": frontend, "backend": {"pool": pool}}, tables) == derive({"frontend": frontend, "backend": {"pool": other}}, tables)
