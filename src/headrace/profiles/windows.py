"""A PowerShell script for Windows 8.1 to 11 and Server 2012 R2 and later: sets the connection up, and takes it away again."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from headrace.ppp.config import AuthMethod
from headrace.profiles.facts import thumbprint

if TYPE_CHECKING:
    from headrace.profiles.facts import Facts

_METHODS: Final = {AuthMethod.MSCHAP_V2: "MSChapv2", AuthMethod.CHAP_MD5: "Chap", AuthMethod.PAP: "Pap"}
"""``AuthenticationMethod`` of Add-VpnConnection."""

_QUOTES: Final = str.maketrans({quote: quote * 2 for quote in "'\u2018\u2019\u201a\u201b"})
"""PowerShell takes typographic quotes for plain ones, inside of strings too."""

_HEAD: Final = """\
# L2TP/IPsec connection for Windows 8.1 to 11, Server 2012 R2 and later. This file holds a secret: give it to its user only, and delete
# it afterwards. In an elevated PowerShell:
#   powershell -ExecutionPolicy Bypass -File {file}          set the connection up
#   powershell -ExecutionPolicy Bypass -File {file} -Undo    take everything away again
# -AllUsers makes it a connection of every user of this computer.
#Requires -Version 4
#Requires -RunAsAdministrator
param([switch]$Undo, [switch]$AllUsers)
$ErrorActionPreference = 'Stop'
$Name = {name}
$Server = {server}
"""

_SET_UP_CONNECTION: Final = """
if (Get-VpnConnection -Name $Name -AllUserConnection:$AllUsers -ErrorAction SilentlyContinue) {
    Remove-VpnConnection -Name $Name -AllUserConnection:$AllUsers -Force
}
"""

_NAT_PATH: Final = r"HKLM:\SYSTEM\CurrentControlSet\Services\PolicyAgent"
_NAT_VALUE: Final = "AssumeUDPEncapsulationContextOnSendRule"
_KEPT: Final = r"HKLM:\SOFTWARE\headrace"


def quoted(text: str) -> str:
    """A PowerShell string in which nothing is special."""
    return "'" + text.translate(_QUOTES) + "'"


def script(facts: Facts) -> str:
    """The script, with lines ended as Windows has them; the byte order mark, which PowerShell 5 needs, is the writer's to add."""
    head = _HEAD.replace("{file}", f"{facts.file_name}.ps1").replace("{name}", quoted(facts.name))
    parts = [
        head.replace("{server}", quoted(facts.server)),
        "\nif ($Undo) {\n" + _indented(_undo(facts)) + "    Write-Host \"'$Name' is gone.\"\n    exit\n}\n",
        _certificates(facts),
        _nat(facts),
        _SET_UP_CONNECTION,
        _add(facts),
        *(
            f"Add-VpnConnectionRoute -ConnectionName $Name -DestinationPrefix {quoted(str(net))} | Out-Null\n"
            for net in facts.routes
        ),
        f"Write-Host (\"'$Name' is set up. Connect as {{0}} from the network symbol in the task bar.\" -f {quoted(facts.user)})\n",
    ]
    return "".join(parts).replace("\n", "\r\n")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())


def _methods(facts: Facts) -> str:
    names = [_METHODS[method] for method in facts.user_auth if method in _METHODS]
    return ", ".join(names or ["MSChapv2"])


def _add(facts: Facts) -> str:
    options = [
        "-Name $Name -ServerAddress $Server -TunnelType L2tp",
        # Windows counts IPsec as the encryption: this refuses a tunnel without it, not one without MPPE.
        f"-AuthenticationMethod {_methods(facts)} -EncryptionLevel Required -RememberCredential -Force",
        "-AllUserConnection:$AllUsers",
    ]
    if facts.psk is not None:
        options.append(f"-L2tpPsk {quoted(facts.psk)}")
    if facts.routes:
        options.append("-SplitTunneling")
    return "Add-VpnConnection " + " `\n    ".join(options) + "\n"


def _certificates(facts: Facts) -> str:
    if facts.machine is None:
        return ""
    bundle = base64.encodebytes(facts.machine.bundle).decode("ascii")
    return (
        "\n# The computer's certificate and its authority: they prove the machines to one another; the user proves himself later.\n"
        f"$Bundle = @'\n{bundle}'@\n"
        "$File = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName() + '.p12')\n"
        "try {\n"
        "    [IO.File]::WriteAllBytes($File, [Convert]::FromBase64String($Bundle))\n"
        "    $Password = Read-Host -AsSecureString 'Password of the certificate (it came with this file, by another way)'\n"
        "    Import-PfxCertificate -FilePath $File -Password $Password -CertStoreLocation Cert:\\LocalMachine\\My | Out-Null\n"
        "} finally {\n"
        "    Remove-Item $File -ErrorAction SilentlyContinue\n"
        "}\n" + "".join(_root(der) for der in facts.machine.authorities)
    )


def _root(der: bytes) -> str:
    encoded = base64.encodebytes(der).decode("ascii")
    return (
        f"$Root = [Security.Cryptography.X509Certificates.X509Certificate2]::new([Convert]::FromBase64String(@'\n{encoded}'@))\n"
        "$Store = [Security.Cryptography.X509Certificates.X509Store]::new('Root', 'LocalMachine')\n"
        "$Store.Open('ReadWrite'); $Store.Add($Root); $Store.Close()\n"
    )


def _nat(facts: Facts) -> str:
    if not facts.behind_nat:
        return ""
    return (
        "\n# The gateway is behind a NAT: Windows calls such a one only if this value says so. The former value is kept for -Undo.\n"
        f"$Nat = (Get-ItemProperty {quoted(_NAT_PATH)}).{_NAT_VALUE}\n"
        "if ($Nat -ne 2) {\n"
        f"    New-Item -Path {quoted(_KEPT)} -Force | Out-Null\n"
        f"    if ($null -ne $Nat) {{ Set-ItemProperty {quoted(_KEPT)} Nat $Nat }}\n"
        f"    else {{ Remove-ItemProperty {quoted(_KEPT)} Nat -ErrorAction SilentlyContinue }}\n"
        f"    Set-ItemProperty {quoted(_NAT_PATH)} {_NAT_VALUE} 2 -Type DWord\n"
        "    Write-Host 'Restart this computer before you connect: Windows reads the NAT setting when it starts.'\n"
        "}\n"
    )


def _undo(facts: Facts) -> str:
    lines = ["Remove-VpnConnection -Name $Name -AllUserConnection:$AllUsers -Force -ErrorAction SilentlyContinue"]
    if facts.machine is not None:
        lines.append(
            f"Remove-Item 'Cert:\\LocalMachine\\My\\{facts.machine.thumbprint}' -DeleteKey -ErrorAction SilentlyContinue"
        )
        lines += [
            f"Remove-Item 'Cert:\\LocalMachine\\Root\\{thumbprint(der)}' -ErrorAction SilentlyContinue"
            for der in facts.machine.authorities
        ]
    if facts.behind_nat:
        lines += [
            f"if (Test-Path {quoted(_KEPT)}) {{",
            f"    $Nat = (Get-ItemProperty {quoted(_KEPT)}).Nat",
            f"    if ($null -ne $Nat) {{ Set-ItemProperty {quoted(_NAT_PATH)} {_NAT_VALUE} $Nat -Type DWord }}",
            f"    else {{ Remove-ItemProperty {quoted(_NAT_PATH)} {_NAT_VALUE} -ErrorAction SilentlyContinue }}",
            f"    Remove-Item {quoted(_KEPT)}",
            "}",
        ]
    return "\n".join(lines)
