"""``headrace inspect``: a capture, whoever made it, layer by layer and as the ladder."""

from __future__ import annotations

import json as codec
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import secret_from_file, text_of
from headrace.cli.exits import REFUSED, SYSTEM, CommandError, complain
from headrace.inspect.export import Form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.inspect.dissect import Dissector
    from headrace.inspect.keys import Keys
    from headrace.inspect.ladder import Conversation
    from headrace.inspect.live import LiveCapture
    from headrace.inspect.packet import Packet
    from headrace.inspect.pcap import Captured

_PROBLEMS_MAX = 200


def inspect(
    capture: Annotated[
        Path | None, typer.Argument(metavar="[CAPTURE]", help="pcap or pcapng, gzip or not; - is standard input.")
    ] = None,
    interface: Annotated[
        str | None, typer.Option("--interface", "-i", help="Look at this interface, live, until Ctrl-C.")
    ] = None,
    keylog: Annotated[
        Path | None,
        typer.Option("--keylog", "-k", help="Directory with esp_sa and ikev1_decryption_table, as --keylog of dial writes."),
    ] = None,
    esp_keys: Annotated[Path | None, typer.Option("--esp-keys", help="Wireshark's esp_sa table.")] = None,
    ike_keys: Annotated[Path | None, typer.Option("--ike-keys", help="Wireshark's ikev1_decryption_table.")] = None,
    psk_file: Annotated[
        Path | None,
        typer.Option("--psk-file", help="Pre-shared key: says whether each side proved this one. Needs the IKE keys."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Password of the user: opens MPPE after MS-CHAPv2.")
    ] = None,
    l2tp_secret_file: Annotated[
        Path | None, typer.Option("--l2tp-secret-file", help="Tunnel secret: uncovers hidden attributes.")
    ] = None,
    ladder: Annotated[bool, typer.Option("--ladder", help="Only the conversations, not every packet.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every layer and attribute of every packet.")] = False,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, metavar="N", help="Draw packet N as boxes, and nothing else.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="With --layers: write the drawing there as SVG.")] = None,
    write: Annotated[Path | None, typer.Option("--write", "-w", help="Write what was decrypted there as pcapng.")] = None,
    write_as: Annotated[
        Form, typer.Option("--write-as", help="With --write: whole packets without ESP, PPP frames, or the user's packets.")
    ] = Form.PACKETS,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Stop after this many packets.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="With --interface: stop after this time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line: packets, conversations, a summary.")] = False,
) -> int:
    """Take a capture of L2TP/IPsec apart, layer by layer, and tell each conversation as the ladder: what was agreed, where it broke.

    Reads captures of any software. With the keys of a key log it looks inside of IKE and ESP. Exit code 1 if the capture could not be
    read to its end.
    """
    from headrace.inspect.dissect import Dissector

    if (capture is None) == (interface is None):
        raise CommandError("name a capture, or an interface", "headrace inspect FILE, or headrace inspect --interface eth0")
    if svg is not None and layers is None:
        raise CommandError("--svg needs --layers N", "say which packet to draw")
    keys = _keys(keylog, esp_keys, ike_keys, psk_file, password_file)
    secret = secret_from_file(l2tp_secret_file) if l2tp_secret_file else None
    dissector = Dissector(keys, secret=secret, clear=write is not None)
    view = View(dissector, json=json, verbose=verbose, packets=not ladder)
    with ExitStack() as stack:
        source = _Source(stack, capture, interface, seconds)
        if layers is not None:
            return _draw(dissector, source, layers, svg)
        exporter = None
        if write is not None:
            from headrace.inspect.export import Exporter

            exporter = Exporter(stack.enter_context(write.open("wb")), write_as)
        try:
            for captured in source.packets():
                packet = dissector.feed(captured)
                view.packet(packet)
                if exporter is not None:
                    exporter.feed(packet)
                if count is not None and view.seen >= count:
                    break
        except KeyboardInterrupt:
            print(file=sys.stderr)
        view.finish(exporter.written if exporter is not None else None)
        return source.judge()


def _keys(keylog: Path | None, esp: Path | None, ike: Path | None, psk: Path | None, password: Path | None) -> Keys:
    from headrace.inspect import keys as tables
    from headrace.inspect.keys import BadKeys, Keys

    keys = Keys()
    try:
        if keylog is not None:
            tables.read_directory(keylog, keys)
        if esp is not None:
            tables.read_esp(esp, keys)
        if ike is not None:
            tables.read_ike(ike, keys)
    except BadKeys as error:
        raise CommandError(str(error)) from None
    if psk is not None:
        keys.psk = secret_from_file(psk)
    if password is not None:
        keys.password = text_of(secret_from_file(password), str(password))
    for problem in keys.problems[:_PROBLEMS_MAX]:
        complain(f"headrace: {problem}")
    return keys


class _Source:
    """Where packets come from, and what went wrong there."""

    def __init__(self, stack: ExitStack, capture: Path | None, interface: str | None, seconds: float | None) -> None:
        from headrace.inspect.live import LiveCapture
        from headrace.inspect.pcap import CaptureReader, NotACapture

        self._seconds = seconds
        self._live: LiveCapture | None = None
        self._reader: CaptureReader | None = None
        self._name = str(capture or interface)
        if interface is not None:
            try:
                self._live = stack.enter_context(LiveCapture(interface))
            except PermissionError:
                raise CommandError(
                    "a live capture needs CAP_NET_RAW", "run it as root, or capture with tcpdump -w", SYSTEM
                ) from None
            return
        assert capture is not None
        stream = sys.stdin.buffer if str(capture) == "-" else stack.enter_context(capture.open("rb"))
        try:
            self._reader = CaptureReader(stream)
        except NotACapture as error:
            raise CommandError(f"{capture}: {error}", code=REFUSED) from None

    def packets(self) -> Iterable[Captured]:
        if self._live is not None:
            return self._live.packets(self._seconds)
        assert self._reader is not None
        return self._reader

    def judge(self) -> int:
        """Say what was lost; the exit code."""
        if self._live is not None:
            complain_of_loss(self._live)
            return 0
        assert self._reader is not None
        if self._reader.problem:
            complain(f"headrace: {self._name}: {self._reader.problem}")
            return REFUSED
        return 0


def complain_of_loss(capture: LiveCapture) -> None:
    """Say how many packets of a live capture nobody has seen."""
    lost = capture.lost()
    if lost:
        complain(f"headrace: the kernel dropped {lost} packets, for they were not read fast enough")


def _draw(dissector: Dissector, source: _Source, number: int, svg: Path | None) -> int:
    from headrace.inspect import draw

    last = 0
    for captured in source.packets():
        last = captured.number
        packet = dissector.feed(captured)
        if captured.number != number:
            continue
        title = f"Packet {number}: {packet.source} > {packet.destination} {packet.protocol}"
        print(f"{title} {packet.summary}".rstrip())
        if packet.problem:
            print(packet.problem)
        print(draw.boxes(packet.layers))
        print(draw.table(packet.layers))
        print(f"{packet.octets:6}  in all")
        if svg is not None:
            svg.write_text(draw.svg(packet.layers, title), "utf-8")
        return 0
    source.judge()
    raise CommandError(f"there is no packet {number}", f"the capture has {last}", REFUSED)


class View:
    """Prints packets as they come, and the rest at the end."""

    def __init__(self, dissector: Dissector, *, json: bool, verbose: bool, packets: bool) -> None:
        from headrace.inspect.ladder import Ladders

        self.seen = 0
        self._dissector = dissector
        self._json = json
        self._verbose = verbose
        self._packets = packets
        self._ladders = Ladders()
        self._begin: float | None = None
        self._end = 0.0
        self._protocols: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._esp = 0
        self._opened = 0
        self._strange: dict[int, None] = {}

    def packet(self, packet: Packet) -> None:
        """Print one packet, and remember it for the end."""
        self.seen += 1
        if self._begin is None:
            self._begin = packet.time
        self._end = packet.time
        self._protocols[packet.protocol or "unread"] += 1
        if packet.problem and len(self._problems) < _PROBLEMS_MAX:
            self._problems[packet.problem] += 1
        if packet.esp is not None:
            self._esp += 1
            self._opened += packet.esp.opened
            if not packet.esp.opened and len(self._strange) < 8:
                self._strange[packet.esp.spi] = None
        self._ladders.feed(packet)
        if not self._packets:
            return
        if self._json:
            print(codec.dumps(_packet_json(packet)))
            return
        after = packet.time - self._begin
        problem = f"  !! {packet.problem}" if packet.problem else ""
        ends = f"{packet.source} > {packet.destination}" if packet.source else "-"
        print(f"{packet.number:6} {after:10.6f}  {ends}  {packet.protocol}  {packet.summary}{problem}")
        if self._verbose:
            for layer in packet.layers:
                marks = "".join(
                    mark for on, mark in ((layer.encrypted, "E"), (layer.authenticated, "A"), (layer.mppe, "M")) if on
                )
                print(f"{'':19}{layer.octets:6} {marks:3} {layer.name}  {layer.detail}".rstrip())
            for detail in packet.details:
                print(f"{'':30}{detail}")

    def finish(self, written: int | None) -> None:
        """Tell the conversations, and what all of it was."""
        conversations = self._ladders.finish()
        notes = self._notes(written)
        if self._json:
            for one in conversations:
                print(codec.dumps({"conversation": one.json()}))
            summary = {"packets": self.seen, "protocols": dict(self._protocols), "esp": self._esp, "opened": self._opened}
            print(codec.dumps({"summary": {**summary, "problems": dict(self._problems), "notes": notes}}))
            return
        _tell(conversations, story=not self._packets or self._verbose, after=self._packets and self.seen > 0)
        kinds = ", ".join(f"{name} {n}" for name, n in self._protocols.most_common())
        print(f"\n{self.seen} packets in {self._end - (self._begin or 0.0):.3f} s: {kinds or 'nothing'}")
        for note in notes:
            print(note)

    def _notes(self, written: int | None) -> list[str]:
        notes = []
        keys = self._dissector.keys
        if keys.esp and self._esp and not self._opened:
            spis = ", ".join(f"{spi:08x}" for spi in self._strange)
            notes.append(
                f"none of {self._esp} ESP packets opens: the key log has no key for their SPIs ({spis}), it is of another run"
            )
        elif self._esp and self._opened < self._esp:
            notes.append(f"{self._esp - self._opened} of {self._esp} ESP packets were not decrypted")
        if self._dissector.mppe.problem:
            notes.append(self._dissector.mppe.problem)
        if self._ladders.left_out:
            notes.append(
                f"{self._ladders.left_out} packets belong to conversations beyond the first {len(self._ladders.conversations)}"
            )
        if written is not None:
            notes.append(f"{written} packets written")
        return notes


def _tell(conversations: list[Conversation], *, story: bool, after: bool) -> None:
    from headrace.inspect.ladder import describe

    for index, one in enumerate(conversations):
        if index or after:
            print()
        print(describe(one, story=story))
    if not conversations:
        print("\nno conversation of L2TP/IPsec is in it" if after else "no conversation of L2TP/IPsec is in it")


def _packet_json(packet: Packet) -> dict[str, Any]:
    return {
        "packet": packet.number,
        "time": packet.time,
        "octets": packet.length,
        "source": packet.source,
        "destination": packet.destination,
        "protocol": packet.protocol,
        "summary": packet.summary,
        "details": packet.details,
        "problem": packet.problem or None,
        "layers": [
            {
                "name": layer.name,
                "octets": layer.octets,
                "detail": layer.detail,
                "encrypted": layer.encrypted,
                "authenticated": layer.authenticated,
                "mppe": layer.mppe,
            }
            for layer in packet.layers
        ],
    }
