#!/usr/bin/env python3
"""Copies a receipt with one bit of its first record's payload flipped: what no verifier may accept.

    scripts/flip_byte.py receipt.stepseal.json flipped.stepseal.json
"""
import base64
import json
import sys

source, target = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    receipt = json.load(file)
envelope = receipt["entries"][0]["envelope"]
payload = bytearray(base64.b64decode(envelope["payload"]))
payload[len(payload) // 2] ^= 1
envelope["payload"] = base64.b64encode(payload).decode()
with open(target, "w", encoding="utf-8") as file:
    json.dump(receipt, file)
