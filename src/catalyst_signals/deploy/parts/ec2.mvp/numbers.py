#!/usr/bin/python3
"""Tells CloudWatch whether the server of this machine is ready, and what is free of its disk.

`numbers.py REGION NAMESPACE`, started by cron once a minute. When the server does not answer it is not ready.
"""

import re
import sys
import urllib.request

import boto3

NAMES = {"catalyst_ready": "ready", "catalyst_disk_free_ratio": "disk_free_ratio"}


def numbers(url: str) -> dict[str, float]:
    """Those of NAMES that the server says, by the alarms' names."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {"ready": 0.0}
    found = re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
    return {NAMES[name]: float(value) for name, value in found if name in NAMES}


if __name__ == "__main__":
    region, namespace = sys.argv[1:3]
    url = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:8080/metrics"
    data = [{"MetricName": name, "Value": value} for name, value in numbers(url).items()]
    boto3.client("cloudwatch", region).put_metric_data(Namespace=namespace, MetricData=data)
