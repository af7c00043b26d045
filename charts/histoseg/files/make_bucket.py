"""Create the bucket as soon as the S3 server of this pod answers; status 1 if it does not within two minutes."""

import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

client = boto3.client("s3", endpoint_url="http://127.0.0.1:8333")
for _ in range(120):
    try:
        client.create_bucket(Bucket="histoseg")
        break
    except (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        break
    except (BotoCoreError, ClientError):
        time.sleep(1)
else:
    raise SystemExit("no answer from an S3 server at 127.0.0.1:8333, or it refuses the access key")
