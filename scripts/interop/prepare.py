#!/usr/bin/env python3
"""Makes what the other checks read, with the host's own program: every export of the receipts, and a log of several tiles.

    prepare.py --stepseal PROGRAM --components DIR --trust trust.json --work DIR receipt.stepseal.json...

    DIR/keys/         trust.json, trusted_root.json, record-keys.json
    DIR/receipts/     for each receipt NAME: NAME.stepseal.json, NAME.jsonl, NAME.tlog-proof/, NAME.sigstore-bundle/
    DIR/log/          trust.json, <size>.checkpoint, <size>.consistency (to the largest size), tile/ as C2SP tlog-tiles has it

The log is that of a host which runs only while this does.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

# Five tasks of 60 steps: over 310 leaves, which fill one tile and part of a second. A task has two records beside its steps'.
TASKS, STEPS, RECORDS, WAIT_SECONDS, TILE = 5, 60, 62, 60, 256
# A proxy that the machine may have is not for this machine.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def main():
    parser = argparse.ArgumentParser()
    for name in ["stepseal", "components", "trust", "work"]:
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("receipts", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    run = program(args.stepseal)
    keys(run, args.trust, args.work / "keys")
    for receipt in args.receipts:
        exports(run, receipt, args.trust, args.work / "receipts")
    log(args, args.work / "log")

def program(path):
    def run(*arguments, stdin=None):
        command = [path, *arguments]
        ran = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * WAIT_SECONDS)
        if ran.returncode != 0:
            raise SystemExit(f"prepare: {' '.join(map(str, command))} failed: {ran.stderr.decode().strip()}")
        return ran.stdout
    return run

def keys(run, trust, out):
    out.mkdir(parents=True)
    shutil.copy(trust, out / "trust.json")
    for form, name in [("sigstore-trusted-root", "trusted_root.json"), ("sigstore-keys", "record-keys.json")]:
        run("keys", "trust", "--from", trust, "--format", form, "--out", out / name)

def exports(run, receipt, trust, out):
    out.mkdir(exist_ok=True)
    name = receipt.name.removesuffix(".stepseal.json")
    shutil.copy(receipt, out / receipt.name)
    export = ["receipt", "export", receipt, "--trust", trust, "--format"]
    run(*export, "dsse-jsonl", "--out", out / f"{name}.jsonl")
    for form in ["tlog-proof", "sigstore-bundle"]:
        run(*export, form, "--out", out / f"{name}.{form}")

def log(args, out):
    out.mkdir()
    data = args.work / "data"
    run = program(args.stepseal)
    with open(args.work / "serve.log", "wb") as said:
        host = subprocess.Popen([args.stepseal, "--data", data, "serve", "--listen", "127.0.0.1:0"], stdout=said, stderr=said)
        try:
            wait_for(host, data, args.work / "serve.log")
            fill(run, data, args.components, out)
            fetch(data, out)
        finally:
            host.terminate()
            host.wait(WAIT_SECONDS)

def get(data, path):
    """What the host of a data directory answers."""
    url, token = [(data / name).read_text().strip() for name in ["address", "token"]]
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    with HTTP.open(request, timeout=WAIT_SECONDS) as answer:
        return answer.read()

def wait_for(host, data, said):
    deadline, last = time.monotonic() + WAIT_SECONDS, "it listens nowhere"
    while host.poll() is None and time.monotonic() < deadline:
        try:
            return get(data, "/readyz")
        except OSError as error:
            last = error
            time.sleep(0.05)
    raise SystemExit(f"prepare: the host does not become ready ({last}): {said.read_text(errors='replace').strip()}")

def fill(run, data, components, out):
    host = ["--data", data]
    run(*host, "plugin", "push", components / "jq.wasm")
    run(*host, "keys", "trust", "--out", out / "trust.json")
    steps = [{"id": f"s{number}", "uses": "jq/filter", "with": {"filter": ".", "document": number}} for number in range(STEPS)]
    plan = json.dumps({"plan": {"steps": steps}}).encode()
    for task in range(TASKS):
        run(*host, "task", "submit", "-", "--wait", str(WAIT_SECONDS), stdin=plan)
        size, note = head(run, host, at_least=(task + 1) * RECORDS)
        (out / f"{size}.checkpoint").write_bytes(note)

def head(run, host, at_least):
    """The log's head, once it has grown to a size: what the host shows may be a second old."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        note = run(*host, "log", "checkpoint")
        size = int(note.split(b"\n")[1])
        if size >= at_least:
            return size, note
        if time.monotonic() > deadline:
            raise SystemExit(f"prepare: the log's head stays at {size} entries, and {at_least} were written")
        time.sleep(0.05)

def fetch(data, out):
    """All that a monitor of the newest checkpoint needs, and the host's proofs that it continues the older ones."""
    sizes = sorted(int(path.stem) for path in out.glob("*.checkpoint"))
    newest = sizes[-1]
    for size in sizes:
        proof = get(data, f"/v1/log/consistency?from={size}&to={newest}")
        (out / f"{size}.consistency").write_bytes(proof)
    nodes, level = newest, 0
    while nodes > 0:
        for kind in [str(level), "entries"][: 2 if level == 0 else 1]:
            for first in range(0, nodes, TILE):
                width = min(TILE, nodes - first)
                path = f"tile/{kind}/{first // TILE:03}" + (f".p/{width}" if width < TILE else "")
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_bytes(get(data, f"/log/{path}"))
        nodes, level = nodes // TILE, level + 1

if __name__ == "__main__":
    sys.exit(main())
