"""Who may: by the user at the other end of a connection, a certificate, the Host and the Origin."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite
from tests.lib.api_process import ApiProcess, as_go_sends, read_reply
from tests.lib.commands import pcn
from tests.lib.nobody import done_by_nobody


@pytest.fixture(autouse=True)
def _loopback() -> None:
    linkwrite.set_link("lo", up=True)


def started(own_root: str, home: Path, *arguments: str, listen: str = "") -> Iterator[ApiProcess]:
    with ApiProcess(own_root, home, *arguments, listen=listen) as process:
        yield process
    pcn("delete", "rest")


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    yield from started(own_root, tmp_path)


def as_nobody(api: ApiProcess, *requests: tuple[str, str, str | None, int]) -> None:
    """Each request by nobody gets the status that is expected."""

    def ask() -> None:
        for method, path, body, status in requests:
            reply = api(method, path, body)
            assert reply.status == status, (method, path, reply.status, reply.body)

    done_by_nobody(ask)


def test_nobody_gets_403_for_everything_and_root_is_answered(api):
    as_nobody(api, ("GET", "/cubes/", None, 403), ("POST", "/helloworld/hw/", "{}", 403), ("OPTIONS", "/?help=NONE", None, 403))
    assert api("POST", "/helloworld/hw/", "{}").status == 201
    as_nobody(api, ("DELETE", "/hw/", None, 403), ("GET", "/hw/", None, 403))
    assert api.get("/cubes/hw/")["name"] == "hw"
    assert "nobody from port" in api.text()
    assert "root from port" in api.text()


def test_others_read_if_that_is_wanted_and_never_write(own_root, tmp_path):
    for api in started(own_root, tmp_path, "--others-read"):
        as_nobody(api, ("GET", "/cubes/", None, 200), ("POST", "/helloworld/hw/", "{}", 403), ("PUT", "/helloworld/hw/", "{}", 403))


def test_members_of_the_group_write(own_root, tmp_path):
    for api in started(own_root, tmp_path, "--group", "nogroup"):
        as_nobody(api, ("POST", "/helloworld/hw/", "{}", 201), ("DELETE", "/hw/", None, 204))


def test_a_unix_socket_knows_whose_its_other_end_is(own_root, tmp_path):
    path = Path("/run/api-test.sock")
    for api in started(own_root, tmp_path, listen=f"unix:{path}"):
        assert api("POST", "/helloworld/hw/", "{}").status == 201
        as_nobody(api, ("GET", "/cubes/", None, 403), ("DELETE", "/hw/", None, 403))
        assert api.get("/cubes/hw/")["name"] == "hw"
    assert not path.exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9000", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_another_hosts_name_is_refused(api, host):
    reply = api.raw(as_go_sends("GET", "/polycube/v1/cubes/", None, host))
    assert (reply.status, reply.error["error-tag"]) == (403, "access-denied")


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:9000", "127.9.9.9:80", "LocalHost"])
def test_this_hosts_names_are_taken(api, host):
    assert api.raw(as_go_sends("GET", "/polycube/v1/cubes/", None, host)).status == 200


def test_a_page_of_another_origin_is_refused(api):
    mine = f"localhost:{api.port}"
    assert api("POST", "/helloworld/hw/", "{}", Origin="http://evil.example").status == 403
    assert api("POST", "/helloworld/hw/", "{}", Origin="null").status == 403
    assert api("POST", "/helloworld/hw/", "{}", Origin=f"http://{mine}").status == 201
    assert not any(name.startswith("access-control") for name in api("GET", "/cubes/").headers)


def test_every_write_leaves_a_line_that_says_who_and_what(api):
    api("POST", "/helloworld/hw/", "{}")
    api("POST", "/helloworld/hw/", "{}")
    lines = [line for line in api.text().splitlines() if "POST /helloworld/hw" in line]
    assert ["201" in line for line in lines] == [True, False]
    assert "409" in lines[1]
    assert api.ok("GET", "/hw/").headers["etag"].strip('"') in lines[0]


def test_other_addresses_want_tls(own_root, tmp_path):
    with pytest.raises(AssertionError, match="takes --cert, --key and --ca"):
        ApiProcess(own_root, tmp_path, listen="0.0.0.0:9443").start()
    with pytest.raises(AssertionError, match="go together"):
        ApiProcess(own_root, tmp_path, "--cert", "/x").start()


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, and certificates of a server, a client, and a stranger who signed their own."""
    for name in ("ca", "stranger"):
        key, cert = str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", cert)
    for name in ("server", "client"):
        request = str(tmp_path / f"{name}.csr")
        extensions = tmp_path / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", str(tmp_path / f"{name}.key"), "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", str(tmp_path / "ca.pem"), "-CAkey", str(tmp_path / "ca.key"), "-days", "2", "-extfile", str(extensions), "-out", str(tmp_path / f"{name}.pem"))
    return tmp_path


@pytest.mark.skipif(not os.path.exists("/usr/bin/openssl"), reason="openssl is not installed")
def test_over_tls_a_client_has_a_certificate_of_ours_or_no_connection(own_root, tmp_path, certificates):
    files = [str(certificates / name) for name in ("server.pem", "server.key", "ca.pem")]
    for api in started(own_root, tmp_path, "--cert", files[0], "--key", files[1], "--ca", files[2]):

        def ask(*certificate: str, api: ApiProcess = api) -> int:
            context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
            if certificate:
                context.load_cert_chain(*(str(certificates / name) for name in certificate))
            connection = http.client.HTTPSConnection("127.0.0.1", api.port, context=context, timeout=10)
            try:
                connection.request("POST", "/polycube/v1/helloworld/hw/", b"{}", {"Host": "localhost"})
                return connection.getresponse().status
            finally:
                connection.close()

        assert ask("client.pem", "client.key") == 201
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask()
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask("stranger.pem", "stranger.key")
        assert "certificate client" in api.text()


def test_both_loopback_addresses_of_localhost(own_root, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in started(own_root, tmp_path, listen=f"localhost:{port}"):
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)) as sock:
                sock.sendall(as_go_sends("GET", "/polycube/v1/cubes/", None, f"localhost:{port}"))
                assert read_reply(sock).status == 200
