#!/bin/sh
# Makes an Ubuntu 24.04 machine a node on RDS and ElastiCache: the program, its settings, its service. As root, in the folder of this set,
# with what ec2/catalyst.yaml gives it in the environment. Secrets are read by the machine's role and stand in one file that is the program's.
set -eu
cd "$(dirname "$0")/.."
version=<<version>>

told() { # To CloudFormation: SUCCESS or FAILURE, by this machine.
    token=$(curl --silent --fail -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
    export INSTANCE STATUS="$1"
    INSTANCE=$(curl --silent --fail -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/instance-id)
    python3 -c 'import os, boto3; boto3.client("cloudformation").signal_resource(StackName=os.environ["STACK"],
        LogicalResourceId="Machines", UniqueId=os.environ["INSTANCE"], Status=os.environ["STATUS"])'
}
trap '[ $? = 0 ] || told FAILURE' EXIT

id catalyst >/dev/null 2>&1 || useradd --system --home-dir /var/lib/catalyst --shell /usr/sbin/nologin catalyst
set -- "$PWD"/catalyst_signals-*
if [ -e "$1" ]; then from="@ file://$1"; else from="== $version"; fi
python3 -m venv /opt/catalyst
/opt/catalyst/bin/pip install -q -c systemd/constraints.txt "catalyst-signals[server,postgresql,redis] $from"

# By these RDS shows that it is RDS.
curl --silent --show-error --fail --output /etc/ssl/rds.pem https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem

install -d -g catalyst -m 0750 /etc/catalyst
install -m 0640 -g catalyst /dev/null /etc/catalyst/catalyst.env
python3 ec2/settings.py >/etc/catalyst/catalyst.env

install -m 0644 systemd/catalyst@.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable -q --now catalyst@8080
curl --silent --show-error --fail --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null http://127.0.0.1:8080/healthz
told SUCCESS
