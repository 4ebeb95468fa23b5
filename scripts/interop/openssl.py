#!/usr/bin/env python3
"""Verifies the signatures of receipts with the `openssl` command, from receipt and trust file alone.

    openssl.py DIR    what prepare.py made

This script only takes the JSON and the base64 apart; every signature is checked by openssl.
"""
import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")

def main(work):
    if not shutil.which("openssl"):
        raise SystemExit("openssl: there is no such command; on Debian: apt-get install openssl")
    trust = json.loads((work / "keys/trust.json").read_text())
    record_keys = [base64.b64decode(record["key"]) for record in trust["records"]]
    log_keys = [SPKI_PREFIX + base64.b64decode(vkey.split("+", 2)[2])[1:] for vkey in trust["log"]]
    records = checkpoints = 0
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        scratch = pathlib.Path(scratch)
        for path in sorted(work.glob("receipts/*.stepseal.json")):
            receipt = json.loads(path.read_text())
            for entry in receipt["entries"]:
                check(scratch, record_keys, *signed_record(entry["envelope"]), f"the record at index {entry['index']} of {path}")
                records += 1
            check(scratch, log_keys, *signed_checkpoint(receipt["checkpoint"]), f"the checkpoint of {path}")
            checkpoints += 1
    if checkpoints == 0:
        raise SystemExit(f"openssl: there are no receipts in {work}")
    print(f"  OpenSSL    verifies the signatures of {records} records and {checkpoints} checkpoints, and refuses each with a bit changed")

def signed_record(envelope):
    kind, body = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body), base64.b64decode(envelope["signatures"][0]["sig"])

def signed_checkpoint(note):
    text, _, lines = note.rpartition("\n\n")
    return f"{text}\n".encode(), base64.b64decode(lines.splitlines()[0].split(" ")[2])[4:]

def check(scratch, keys, message, signature, what):
    if not any(verifies(scratch, key, message, signature) for key in keys):
        raise SystemExit(f"openssl: refuses {what}")
    changed = bytearray(message)
    changed[len(changed) // 2] ^= 1
    if any(verifies(scratch, key, changed, signature) for key in keys):
        raise SystemExit(f"openssl: accepts {what} with a bit changed")

def verifies(scratch, key, message, signature):
    for name, data in [("key.der", key), ("message", message), ("signature", signature)]:
        (scratch / name).write_bytes(data)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key.der",
               "-rawin", "-in", "message", "-sigfile", "signature"]
    ran = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    said = ran.stdout + ran.stderr
    if "Signature Verified Successfully" in said and ran.returncode == 0:
        return True
    if "Signature Verification Failure" in said and ran.returncode == 1:
        return False
    raise SystemExit(f"openssl: {' '.join(command)} says neither yes nor no: {said.strip()}")

if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
