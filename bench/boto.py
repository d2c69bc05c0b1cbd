"""What a team has today: boto3 in a pool of threads.

`python -m bench.boto PORT SENDS` prints the microseconds of CPU time a send.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

THREADS = 16


def main(port: str, sends: int) -> None:
    config = Config(max_pool_connections=THREADS, retries={"total_max_attempts": 1})
    client = boto3.client(
        "sesv2",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=config,
    )

    def send(_: int) -> None:
        client.send_email(
            FromEmailAddress="noreply@example.com",
            Destination={"ToAddresses": ["ada@example.com"]},
            Content={
                "Simple": {
                    "Subject": {"Data": "Your code"},
                    "Body": {"Text": {"Data": "Your code is 482915. It is valid for five minutes."}},
                }
            },
        )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, range(THREADS)))
        began = time.process_time()
        list(pool.map(send, range(sends)))
        print((time.process_time() - began) / sends * 1e6)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
