#!/usr/bin/env python3
"""Verifies the envelopes of exported DSSE lines with securesystemslib, under the record keys of the trust file.

    dsse.py DIR    what prepare.py made
"""
import base64
import copy
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

def main(work):
    keys = []
    for record in json.loads((work / "keys/trust.json").read_text())["records"]:
        der = base64.b64decode(record["key"])
        keys.append(SSlibKey.from_crypto(load_der_public_key(der), keyid=hashlib.sha256(der).hexdigest()))
    verified = 0
    for lines in sorted(work.glob("receipts/*.jsonl")):
        receipt = json.loads(lines.with_suffix(".stepseal.json").read_text())
        envelopes = [json.loads(line) for line in lines.read_text().splitlines()]
        if envelopes != [entry["envelope"] for entry in receipt["entries"]]:
            raise SystemExit(f"dsse: {lines} has not the envelopes of its receipt")
        for number, envelope in enumerate(envelopes):
            if not accepted(envelope, keys):
                raise SystemExit(f"dsse: securesystemslib refuses envelope {number} of {lines}")
            for change in [change_payload, change_signature, change_type]:
                changed = copy.deepcopy(envelope)
                change(changed)
                if accepted(changed, keys):
                    raise SystemExit(f"dsse: securesystemslib accepts envelope {number} of {lines} after {change.__name__}")
            verified += 1
    if verified == 0:
        raise SystemExit(f"dsse: there are no lines in {work}")
    print(f"  DSSE       securesystemslib verifies {verified} envelopes, and refuses each with payload, type or signature changed")

def accepted(envelope, keys):
    try:
        # It changes what it is given.
        Envelope.from_dict(copy.deepcopy(envelope)).verify(keys, threshold=1)
        return True
    except VerificationError:
        return False

def flip(text):
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()

def change_payload(envelope):
    envelope["payload"] = flip(envelope["payload"])

def change_signature(envelope):
    envelope["signatures"][0]["sig"] = flip(envelope["signatures"][0]["sig"])

def change_type(envelope):
    envelope["payloadType"] += "x"

if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
