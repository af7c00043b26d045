"""What a pod of the scenarios runs: it prints the store's records and checkpoints whenever they change, as JSON.

`python -c <this text> <bucket>` needs boto3 alone. Each line holds all of it, so that one line is a state of the store,
and all lines together show whether a record was ever replaced or lost.
"""

import json
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

EVERY_S = 1.0
FIELDS = ("row", "column", "replicate", "attempt")


def look(client, bucket, known):
    """The store's state; `known` keeps what records held, by key and ETag."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    objects = [found for page in pages for found in page.get("Contents", [])]
    records = {}
    for found in objects:
        key, tag = found["Key"], found["ETag"]
        if "/records/" in key and key.endswith(".json"):
            if (key, tag) not in known:
                held = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
                known[key, tag] = {name: held.get(name) for name in FIELDS}
            records[key] = {"written": f"{tag} {found['LastModified'].isoformat()}", **known[key, tag]}
    checkpoints = [found["Key"] for found in objects if "/step-" in found["Key"]]
    pages = [found["Key"] for found in objects if found["Key"].endswith("/index.html")]
    return {"records": records, "checkpoints": checkpoints, "pages": pages}


def main():
    """Look until the pod is deleted; a store that is away is waited for."""
    client, known, shown = boto3.client("s3"), {}, None
    while True:
        try:
            state = look(client, sys.argv[1], known)
        except (BotoCoreError, ClientError):
            state = shown
        if state != shown:
            print(json.dumps(state), flush=True)
            shown = state
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
