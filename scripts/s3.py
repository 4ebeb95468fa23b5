"""An object store for one test: see s3.sh. Each line of stdin is an order, and is answered by a line of stdout."""

import json
import logging
import os
import sys

# How to get in before anybody has keys. Nothing is read of whoever runs this.
os.environ = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "root", "AWS_DEFAULT_REGION": "us-east-1"}

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

BUCKET = "components"
MAY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

logging.getLogger("werkzeug").disabled = True


def start(port):
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return server, server.get_host_and_port()[1]


server, port = start(0)
endpoint = f"http://127.0.0.1:{port}"
iam = boto3.client("iam", endpoint_url=endpoint)
iam.create_user(UserName="host")
iam.put_user_policy(UserName="host", PolicyName="objects", PolicyDocument=json.dumps(MAY))
key = iam.create_access_key(UserName="host")["AccessKey"]
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
s3.create_bucket(Bucket=BUCKET)
# From here on every request is held against keys and permissions.
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0


def obey(order):
    global server
    match order:
        case ["put", name, text]:
            s3.put_object(Bucket=BUCKET, Key=name, Body=text.encode())
        case ["delete", name]:
            s3.delete_object(Bucket=BUCKET, Key=name)
        case ["list"]:
            return [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        case ["stop"]:
            server.stop()
        case ["start"]:
            server, _ = start(port)
        case _:
            raise ValueError(f"nobody knows the order {order}")


def say(answer):
    print(json.dumps(answer), flush=True)


say({"bucket": BUCKET, "endpoint": endpoint, "key": key["AccessKeyId"], "secret": key["SecretAccessKey"]})
for line in sys.stdin:
    say(obey(json.loads(line)))
