"""The settings of a node, as lines for systemd and for a shell: what the environment has, and the secrets it names.

`DATABASE_SECRET`, `CACHE_URLS` and `ADMIN_KEY` name them; aws/data.yaml and ec2/catalyst.yaml make them.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping

PLAIN = {
    "CATALYST_HOST": "0.0.0.0",
    "CATALYST_KEEP_ALIVE_S": "90",  # Above the load balancer's idle timeout of 75 s.
    "CATALYST_LOG_FORMAT": "json",
}
GIVEN = ("CATALYST_STORE_URL", "CATALYST_PUBLIC_URL", "CATALYST_TRUSTED_PROXIES")


def settings(environment: Mapping[str, str], secret: Callable[[str], str]) -> dict[str, str]:
    """Every setting; `secret` gives what a secret holds."""
    urls = json.loads(secret(environment["CACHE_URLS"]))
    return {
        **PLAIN,
        **{name: environment[name] for name in GIVEN},
        "PGPASSWORD": json.loads(secret(environment["DATABASE_SECRET"]))["password"],  # libpq reads it.
        "CATALYST_BROKER_URL": urls["broker"],
        "CATALYST_CACHE_URL": urls["cache"],
        "CATALYST_ADMIN_KEY": secret(environment["ADMIN_KEY"]),
    }


if __name__ == "__main__":
    import boto3

    ask = boto3.client("secretsmanager").get_secret_value
    found = settings(os.environ, lambda which: ask(SecretId=which)["SecretString"])
    sys.stdout.writelines(f"{name}={shlex.quote(value)}\n" for name, value in found.items())
