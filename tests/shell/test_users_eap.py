"""Users who come in by EAP, through the real gateway and the real client: the methods with MPPE on top, and what is said on both sides."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.shell.site import INNER, NAME, PASSWORD, Site, headrace, prepare, reason_to_skip

from headrace.access.store import AccountStore

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
]

EAP = ["eap-tls", "peap", "eap-mschap-v2"]
SERVED: dict[str, dict[str, Any]] = {
    "ppp": {"auth": EAP, "encryption": "required-128"},
    "eap": {"ca": ["gateway/ca.crt"], "crl": ["users.crl"]},
}
TRUST = ("--eap-ca", "alice/ca.crt", "--eap-server-name", NAME, "--encryption", "required-128")


def certificate(name: str) -> tuple[str, ...]:
    return ("--auth", "eap-tls", "--eap-certificate", f"{name}/{name}.crt", "--eap-private-key", f"{name}/{name}.key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users")
    prepare(path)
    (path / "new-password").touch(mode=0o600)
    (path / "new-password").write_text("through the looking-glass", "utf-8")
    for arguments in (
        ["pki", "issue", "--dir", "ca", "alice", "--out", "alice"],
        ["pki", "issue", "--dir", "ca", "bob", "--out", "bob"],
        ["pki", "revoke", "--dir", "ca", "bob"],
        ["pki", "crl", "--dir", "ca", "--out", "users.crl"],
    ):
        subprocess.run(headrace(*arguments), cwd=path, check=True, capture_output=True, timeout=60)
    with AccountStore(path / "accounts.db", path / "accounts.key") as store:
        store.add_user("carol", PASSWORD, password_expires=1.0)
        store.add_user("dave", PASSWORD, auth=["eap-tls"])
    return path


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(folder, stack)


def test_every_method_with_mppe(site: Site) -> None:
    client = site.client()
    site.serve(**SERVED)
    for method, arguments in (
        ("eap-tls", certificate("alice")),
        ("peap", ("--auth", "peap")),
        ("eap-mschap-v2", ("--auth", "eap-mschap-v2")),
    ):
        dial = site.dial(client, *arguments, *TRUST)
        connected = dial.wait_for("connected")
        assert connected["session"]["mppe"] == "128-bit stateless"
        (session,) = site.control("sessions")
        assert (session["user"], session["user_auth"]) == ("alice", method)
        done = client.run(["ping", "-c", "3", "-i", "0.2", "-W", "2", "-I", connected["address"], INNER])
        assert done.returncode == 0
        assert dial.hang_up() == 0


def test_a_password_that_has_expired_is_changed(site: Site) -> None:
    client = site.client()
    site.serve(ppp={"auth": ["peap", "mschap-v2"]})
    dial = site.dial(client, "--new-password-file", "new-password", user="carol")
    dial.wait_for("connected")
    assert dial.hang_up() == 0
    site.logged("648 password-expired")
    again = site.dial(
        client, "--auth", "peap", "--eap-ca", "alice/ca.crt", "--eap-server-name", NAME, user="carol", password="new-password"
    )
    again.wait_for("connected")
    assert again.hang_up() == 0
    code, complaint = site.dial(client, user="carol").finish()
    assert code == 1
    assert "error 691" in complaint


def test_a_refusal_has_its_number_on_both_sides(site: Site) -> None:
    client = site.client()
    site.serve(ppp={"auth": EAP}, eap=SERVED["eap"])
    cases = (
        (certificate("bob"), "bob", "error 855", "855 user-cert-revoked"),
        (("--auth", "eap-mschap-v2"), "dave", "error 850", "850 eap-no-method"),
        (("--auth", "peap", "--eap-server-name", "elsewhere.example.net"), "alice", "error 801", "860 server-cert-other"),
    )
    for arguments, user, client_says, gateway_says in cases:
        trust = () if "--eap-ca" in arguments else ("--eap-ca", "alice/ca.crt")
        name = () if "--eap-server-name" in arguments else ("--eap-server-name", NAME)
        code, complaint = site.dial(client, *arguments, *trust, *name, user=user).finish()
        assert code == 1
        assert client_says in complaint, complaint
        assert "remedy:" in complaint
        assert "remedy:" in site.logged(gateway_says)
