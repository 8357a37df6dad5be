"""Sessions that end in every state and in every way, in short: `estafette-bench soak` does it and counts what the
server keeps. The long form is `estafette-bench soak --minutes 60`."""

import json
import subprocess

from conftest import IO, PROGRAM, beside

SECONDS_MAX = 300
STATES = {"greeting", "handshake", "STARTTLS", "LOGIN", "AUTH", "literal", "DATA", "BDAT", "IDLE", "FETCH unread",
          "RETR unread", "flood"}


def test_nothing_is_kept_of_sessions_that_ended(tmp_path):
    command = [beside("estafette-bench", "ESTAFETTE_BENCH"), "soak", "--program", PROGRAM, "--io", IO, "--folder", str(tmp_path / "soak"),
               "--minutes", "0.33", "--sessions", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
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
