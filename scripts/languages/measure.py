#!/usr/bin/env python3
"""Runs the plugin `summarise` of every language on a real host, replays what it did, and prints what each costs.

    measure.py --stepseal PROGRAM --components DIR --work DIR summarise-rust summarise-c...

Every component is uploaded as it was built and runs under the limits that a step has by default. Each summarises the same document;
the answers must be the same bytes and replay the same. The time of a call is what one more step adds to a task: the median
over tasks of STEPS steps, less one of none but the first.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

TASKS, STEPS, WAIT_SECONDS = 9, 20, 300
# All of what JSON has, with names and texts that are not ASCII, and some of it deep.
ITEM = {"id": 7, "name": "Grüße an \U0001f980", "tags": ["a", "b\n", "\"c\""], "price": 12.5, "sold": False, "note": None, "in": {"x": [[], {}]}}
DOCUMENT = {"items": [dict(ITEM, **{f"k{number}": number}) for number in range(50)], "total": -1e-7, "längster": "x" * 100 + "\u20ac"}
# A proxy that the machine may have is not for this machine.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main():
    parser = argparse.ArgumentParser()
    for name in ["stepseal", "components", "work"]:
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("guests", nargs="+")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    with open(args.work / "serve.log", "wb") as said:
        command = [args.stepseal, "--data", args.work / "data", "serve", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            host = Host(args, process)
            rows = [host.measure(guest) for guest in args.guests]
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)
    return report(rows)


class Host:
    def __init__(self, args, process):
        self.args, self.data = args, args.work / "data"
        deadline = time.monotonic() + WAIT_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self.ask("GET", "/readyz")
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise SystemExit(f"languages: the host does not become ready: {(args.work / 'serve.log').read_text()}")
        self.run("keys", "trust", "--out", args.work / "trust.json")

    def ask(self, method, path, body=None):
        url, token = [(self.data / name).read_text().strip() for name in ["address", "token"]]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Prefer": f"wait={WAIT_SECONDS // 5}"}
        request = urllib.request.Request(url + path, body, headers, method=method)
        with HTTP.open(request, timeout=WAIT_SECONDS) as answer:
            return json.load(answer) if method == "POST" else answer.read()

    def run(self, *arguments):
        command = [self.args.stepseal, "--data", self.data, *arguments]
        ran = subprocess.run(command, capture_output=True, timeout=WAIT_SECONDS, text=True)
        if ran.returncode != 0:
            raise SystemExit(f"languages: {' '.join(map(str, command))} failed: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout

    def task(self, guest, steps):
        """A task of so many steps, one after the other, and how long it took."""
        plan = [{"id": f"s{n:02}", "uses": f"{guest}/summarise", "with": {"document": DOCUMENT}} for n in range(steps)]
        for before, step in zip(plan, plan[1:]):
            step["needs"] = [before["id"]]
        body = json.dumps({"plan": {"steps": plan}}).encode()
        start = time.perf_counter()
        task = self.ask("POST", "/v1/tasks", body)
        took = time.perf_counter() - start
        if task["state"] != "succeeded":
            raise SystemExit(f"languages: {guest} does not summarise: {json.dumps(task, indent=1)}")
        return task, took

    def measure(self, guest):
        print(f"languages: {guest}", file=sys.stderr)
        component = self.args.components / f"{guest}.wasm"
        start = time.perf_counter()
        self.run("plugin", "push", component)
        compiled = time.perf_counter() - start
        task, _ = self.task(guest, 1)
        one = statistics.median(self.task(guest, 1)[1] for _ in range(TASKS))
        many = [self.task(guest, STEPS) for _ in range(TASKS)]
        call = (statistics.median(took for _, took in many) - one) / (STEPS - 1)
        steps = [step for each, _ in [(task, 0), *many] for step in each["steps"]]
        receipt = self.args.work / f"{guest}.stepseal.json"
        self.run("receipt", "get", task["id"], "--out", receipt)
        # Exit code 0: status, output, host calls and fuel are the record's.
        self.run("replay", receipt, "--components", self.args.components, "--trust", self.args.work / "trust.json")
        return {
            "guest": guest,
            "size": component.stat().st_size,
            "fuel": sorted({step["fuel"] for step in steps}),
            "outputs": {json.dumps(step["output"], sort_keys=True) for step in steps},
            "compile": compiled,
            "call": call,
        }


def report(rows):
    print("| plugin | size | fuel | upload and compile | a call | replayed |\n|---|---|---|---|---|---|")
    for row in rows:
        fuel = " to ".join(f"{value:,}" for value in sorted({row["fuel"][0], row["fuel"][-1]}))
        size = f"{row['size'] / 1024:,.0f} KiB"
        print(f"| {row['guest']} | {size} | {fuel} | {row['compile']:.1f} s | {row['call'] * 1000:.2f} ms | same |")
    outputs = set().union(*(row["outputs"] for row in rows))
    print(f"\n{len(outputs)} different output{'s' * (len(outputs) != 1)}: {min(outputs)}")
    return 0 if len(outputs) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
