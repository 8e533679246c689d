"""What is wrong with a firewall's rules is said by the command with file, line and column."""
from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import main

HEAD = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: t}
spec:
  cubes:
    - name: fw
      service-name: firewall
      chain:
        - name: INGRESS
          rule:
            - {id: 1, src: 10.0.0.0/8, name: web}
"""
LINE = HEAD.count("\n") + 1


def validated(tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str) -> tuple[int, str, str]:
    """What the command says of a rule behind the first one, '^' at the place that it is to name: exit code, words, and
    the place."""
    file = tmp_path / "fw.yaml"
    line = f"            - {rule}\n"
    file.write_text(HEAD + line.replace("^", ""))
    code = main(["validate", str(file)])
    return code, capsys.readouterr().err, f"{file}:{LINE}:{line.index('^') + 1}: "


@pytest.mark.parametrize(("rule", "words"), [
    ("{id: 2, dport: ^80}", "a port needs l4proto TCP, UDP or SCTP"),
    ("{id: 2, l4proto: ICMP, sport: ^80}", "a port needs l4proto TCP, UDP or SCTP"),
    ("{id: 2, l4proto: UDP, tcpflags: ^SYN}", "flags need l4proto TCP"),
    ("{id: 2, src: 192.0.2.1, dst: ^2001:db8::1}", "source and destination are of different families"),
    ("{id: 2, src: ^192.0.2.1/24}", "the prefix has bits set beyond its length of 24"),
    ("{id: 2, src: 192.0.2.1, name: ^web}", "rule 1 has this name too"),
    ("{id: 2, src: ^192.0.2.256}", ""),
    ("{id: 2, src: ^nonsense}", ""),
])  # fmt: skip
def test_an_error_names_the_line_and_column_of_its_leaf(tmp_path, capsys, rule, words):
    code, said, place = validated(tmp_path, capsys, rule)
    assert code == 65
    assert place in said
    assert words in said
    assert rule.replace("^", "") in said  # the line itself


def test_an_id_that_is_there_twice_names_the_line_of_the_second_and_of_the_first(tmp_path, capsys):
    code, said, place = validated(tmp_path, capsys, "^{id: 1, src: 192.0.2.1}")
    assert code == 65
    assert place in said
    assert f"fw.yaml:{LINE - 1}:" in said


def test_a_rule_that_never_matches_is_a_warning_at_its_line(tmp_path, capsys):
    code, said, place = validated(tmp_path, capsys, "{id: ^2, src: 10.1.0.0/16}")
    assert code == 0
    assert place in said
    assert "warning" in said
    assert "the rule never matches: rule 1 comes first" in said
