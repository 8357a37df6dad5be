"""Faults on real nodes under load, in short: `estafette-chaos` does it and holds what clients were told against
what they find. The long form is `estafette-chaos run --rounds 100`; docs/durability.md has what it gave."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import needs

PROGRAM = os.environ.get("ESTAFETTE_PROGRAM", "estafette")
SECONDS_MAX = 240
needs_gcc = needs("gcc")


def chaos_program():
    named = os.environ.get("ESTAFETTE_CHAOS")
    if named:
        return named
    program = shutil.which(PROGRAM)
    beside = pathlib.Path(program or PROGRAM).resolve().with_name("estafette-chaos")
    if not beside.exists():
        pytest.skip(f"there is no {beside} (ESTAFETTE_CHAOS)")
    return str(beside)


def chaos(folder, faults, rounds, *options):
    """Runs so many rounds. Gives the report and the exit status."""
    command = [chaos_program(), "run", "--program", PROGRAM, "--faults", ",".join(faults), "--rounds", str(rounds),
               "--accounts", "6", "--sessions", "8", "--load-ms-max", "500", "--folder", str(folder / "chaos"),
               "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def run(folder, faults, rounds):
    """Runs so many rounds; the oracle has to hold. Gives the report."""
    report, status = chaos(folder, faults, rounds)
    assert report["findings"] == [], (report["seed"], report["failed_round"], report["findings"][:5], report["folder"])
    assert status == 0 and report["holds"]
    assert report["rounds"] == rounds
    shutil.rmtree(folder / "chaos")
    skipped = {fault["why_skipped"] for fault in report["faults"].values() if fault["skipped"]}
    if skipped and all(fault["skipped"] == fault["rounds"] for fault in report["faults"].values()):
        pytest.skip("; ".join(skipped))
    assert report["told"]["acknowledged"] > 0, "nothing was delivered, so nothing was shown"
    return report


def test_killed_at_random_moments(tmp_path):
    report = run(tmp_path, ["kill"], 5)
    assert report["compared"]["acknowledged"] > 0
    assert report["check"] == "clean"


def test_stopped_and_paused_under_load(tmp_path):
    run(tmp_path, ["term", "pause"], 4)


def test_the_tail_of_the_log_is_cut_off_or_a_bit_in_it_flipped(tmp_path):
    """Refused with a clear message, or nothing acknowledged is missing."""
    report = run(tmp_path, ["cut-wal", "flip-wal"], 6)
    tried = sum(fault["refused_starts"] + fault["taken_starts"] for fault in report["faults"].values())
    assert tried > 0


def test_flipped_bits_in_tables_and_blobs_are_told(tmp_path):
    """An error or the right bytes, never wrong ones; `check` finds what cannot be read."""
    run(tmp_path, ["flip-sst", "flip-blob"], 4)


def test_a_disk_that_fills_up(tmp_path):
    run(tmp_path, ["disk-full"], 1)


@needs_gcc
def test_syncs_that_fail(tmp_path):
    report = run(tmp_path, ["sync-fails"], 2)
    assert report["faults"]["sync-fails"]["told"]["put_off"] > 0, "the fault had no effect"


@needs_gcc
def test_power_loss(tmp_path):
    """What was not synced is taken away."""
    report = run(tmp_path, ["power-loss"], 2)
    assert report["faults"]["power-loss"]["unsynced_bytes"] > 0, "nothing was taken away, so nothing was shown"


@needs_gcc
def test_a_sync_that_is_left_out_is_found(tmp_path):
    report, status = chaos(tmp_path, ["power-loss"], 3, "--planted", "sync-left-out")
    assert status == 1 and not report["holds"] and report["findings"]
