"""Sessions that end in every state and in every way, in short: `estafette-bench soak` does it and counts what the
server keeps. The long form is `estafette-bench soak --minutes 60`."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

PROGRAM = os.environ.get("ESTAFETTE_PROGRAM", "estafette")
SECONDS_MAX = 300
STATES = {"greeting", "handshake", "STARTTLS", "LOGIN", "AUTH", "literal", "DATA", "BDAT", "IDLE", "FETCH unread",
          "RETR unread", "flood"}


def bench_program():
    named = os.environ.get("ESTAFETTE_BENCH")
    if named:
        return named
    program = shutil.which(PROGRAM)
    beside = pathlib.Path(program or PROGRAM).resolve().with_name("estafette-bench")
    if not beside.exists():
        pytest.skip(f"there is no {beside} (ESTAFETTE_BENCH)")
    return str(beside)


def test_nothing_is_kept_of_sessions_that_ended(tmp_path):
    io = "uring" if os.environ.get("ESTAFETTE_TEST_IO", "auto") == "auto" else "epoll"
    command = [bench_program(), "soak", "--program", PROGRAM, "--io", io, "--folder", str(tmp_path / "soak"),
               "--minutes", "0.33", "--sessions", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
    if io == "uring" and "io_uring" in done.stderr and not done.stdout:
        pytest.skip("io_uring cannot be had here")
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["leaks"] == [] and done.returncode == 0, result
    # Something was done, and in every state.
    assert result["tally"]["sessions"] > 200
    assert set(result["tally"]["ended_in"]) >= STATES, result["tally"]
    # What two sessions take from each other is the only thing that may be refused.
    others = [said for said in result["tally"]["refusals"]
              if "no such message" not in said and "EXPUNGEISSUED" not in said and "no message of this number" not in said
              and "in use" not in said.lower() and "has been removed" not in said]
    assert others == []
