"""The templates for AWS: clean to CloudFormation's own linter, of one piece, and of one mind with the program.

What is started for real with their environment stands in tests/services/test_aws.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.brokers import BROKERS
from catalyst_signals.caches import CACHES
from catalyst_signals.events import CHANNEL_NAME
from catalyst_signals.server.settings import Settings
from catalyst_signals.stores import STORES
from tests.cloudformation import Stack, walk
from tests.deployed import checked, set_of, written

SITES = [("ecs", "small"), ("ec2", "small"), ("ec2", "mvp")]
NET, DATA, DOOR, TASKS = "aws/network.yaml", "aws/data.yaml", "aws/balancer.yaml", "ecs/service.yaml"
# In the order in which they are made; the names are the defaults by which they find each other.
ORDER = {
    "aws/network.yaml": "catalyst-network", "aws/data.yaml": "catalyst-data", "aws/balancer.yaml": "catalyst-balancer",
    "ecs/images.yaml": "catalyst-images", "ec2/bucket.yaml": "catalyst-bucket", "ecs/service.yaml": "catalyst",
    "ec2/catalyst.yaml": "catalyst",
}  # fmt: skip
ALARM, TASK = "AWS::CloudWatch::Alarm", "AWS::ECS::TaskDefinition"
TEMPLATE_BYTES_MAX = 51_200  # What `aws cloudformation deploy` takes without a bucket.
USER_DATA_BYTES_MAX = 16_384


def stacks(folder: Path, parameters: dict[str, dict[str, str]] | None = None) -> dict[str, Stack]:
    """Every template of a set, by its path, as if each had been deployed after the other."""
    found: dict[str, Stack] = {}
    for path, name in ORDER.items():
        if (folder / path).exists():
            found[path] = Stack(name, folder / path, parameters=(parameters or {}).get(path), others=dict(found))
    assert set(found) == {str(each.relative_to(folder)) for each in folder.rglob("*.yaml")}
    return found


@pytest.fixture(params=SITES, ids=[" ".join(site) for site in SITES])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A set as `catalyst deploy` writes it."""
    return written(*request.param, tmp_path)


@pytest.fixture
def ecs(tmp_path: Path) -> Path:
    """That of ECS."""
    return written("ecs", "small", tmp_path)


def attributes(listed: list[dict[str, str]]) -> dict[str, str]:
    """A load balancer's way to say a mapping."""
    return {each["Key"]: each["Value"] for each in listed}


def node_of(site: Path) -> dict[str, Any]:
    """The container of the service."""
    (container,) = stacks(site)["ecs/service.yaml"].resources(TASK)["Task"]["ContainerDefinitions"]
    return dict(container)


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """Its plain settings."""
    return {each["Name"]: each["Value"] for each in container["Environment"]}


# --- What has to be true of each set; the last test plants mistakes and sees each of them found ---------------------


def check_lint(site: Path) -> None:
    """CloudFormation's own linter has nothing to say, without a word to make it silent."""
    templates = sorted(site.rglob("*.yaml"))
    checked("cfn-lint", "--non-zero-exit-code", "informational", *templates)
    assert not any("cfn-lint" in each.read_text() for each in templates)


def check_whole(site: Path) -> None:
    """Whatever a stack imports another one exports, in each zone's and each size's way; nothing is exported in vain."""
    ways = [
        {}, {NET: {"Egress": "nat"}, DATA: {"Replica": "false", "CacheNodes": "2", "DatabaseName": "restored"}},
        {NET: {"Egress": "nat-each-zone"}}, {NET: {"Range": "10.1.0.0/21"}},
    ]  # fmt: skip
    made = [stacks(site, {path: each for path, each in way.items() if (site / path).exists()}) for way in ways]
    assert all(stack.resources() for found in made for stack in found.values())
    found = made[0]
    for path, stack in found.items():
        for other in made[1:-1]:
            assert other[path].exports == stack.exports, "an export cannot change while another stack uses it"
    for path, each in found.items():
        assert (site / path).stat().st_size < TEMPLATE_BYTES_MAX
        for properties in each.resources().values():
            for key, value in walk(properties):
                assert key != "UserData" or len(value.encode()) < USER_DATA_BYTES_MAX


def check_secrets(site: Path) -> None:
    """No secret stands in a template: it is made by Secrets Manager, or asked for and not shown."""
    for stack in stacks(site).values():
        for name, parameter in stack.template.get("Parameters", {}).items():
            assert re.search("(?i)key|password|token|secret", name) is None or (
                parameter.get("NoEcho") is True and "Default" not in parameter
            ), name
        for key, value in walk(stack.template["Resources"]):
            if key in ("MasterUserPassword", "AuthToken"):
                assert "{{resolve:secretsmanager:" in str(value), key
            if key == "SecretString":
                assert "{{resolve:" in str(value) or list(value) == ["Ref"], value
            assert not re.search(r"://[^/\s$]*:(?!\$\{)[^/\s@]+@", value if isinstance(value, str) else ""), value


def check_rights(site: Path) -> None:
    """No role may do everything, nor anything with everything but what AWS cannot say more narrowly."""
    for stack in stacks(site).values():
        for properties in stack.resources("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::SNS::TopicPolicy").values():
            statements = [each for key, value in walk(properties) if key == "Statement" for each in value]
            for each in statements:
                actions = [each["Action"]] if isinstance(each["Action"], str) else each["Action"]
                assert not any("*" in action for action in actions), actions
                if each.get("Resource") == "*":
                    assert set(actions) <= {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}, actions
                    assert "cloudwatch:PutMetricData" not in actions or "Condition" in each
            managed = [str(value) for key, listed in walk(properties) if key == "ManagedPolicyArns" for value in listed]
            assert not any("FullAccess" in each or "Administrator" in each for each in managed)


def check_kept(site: Path) -> None:
    """What is on a disk is encrypted, what is kept has copies and is not dropped with its stack, logs have an end."""
    for stack in stacks(site).values():
        kinds: dict[str, Callable[[dict[str, Any]], object]] = {
            "AWS::Logs::LogGroup": lambda each: int(each["RetentionInDays"]) > 0,
            "AWS::RDS::DBInstance": lambda each: "SourceDBInstanceIdentifier" in each or (
                each["StorageEncrypted"] and each["DeletionProtection"] and each["BackupRetentionPeriod"] >= 14
                and not each["PubliclyAccessible"] and not each["DeleteAutomatedBackups"]
            ),
            "AWS::ElastiCache::ReplicationGroup": lambda each: (
                each["TransitEncryptionEnabled"] and each["AtRestEncryptionEnabled"] and each["AuthToken"]
            ),
            "AWS::EC2::Volume": lambda each: each["Encrypted"],
            "AWS::S3::Bucket": lambda each: each["BucketEncryption"] and all(
                each["PublicAccessBlockConfiguration"].values()
            ),
            "AWS::ECR::Repository": lambda each: each["ImageTagMutability"] == "IMMUTABLE",
        }  # fmt: skip
        for kind, good in kinds.items():
            assert all(map(good, stack.resources(kind).values())), f"{stack.name}: {kind}"
        for resource in stack.template["Resources"].values():
            kept = resource["Type"] in ("AWS::EC2::Volume", "AWS::S3::Bucket", "AWS::RDS::DBInstance")
            if kept and "SourceDBInstanceIdentifier" not in resource["Properties"]:
                assert {resource["DeletionPolicy"], resource["UpdateReplacePolicy"]} <= {"Snapshot", "Retain"}
        for key, value in walk(stack.resources()):
            assert key != "Ebs" or value["Encrypted"] is True
            assert key != "MetadataOptions" or value["HttpTokens"] == "required"


# What a dimension has to be of, by namespace.
DIMENSIONS = {
    "AWS/ApplicationELB LoadBalancer": r"<AWS::ElasticLoadBalancingV2::LoadBalancer \w+ LoadBalancerFullName>",
    "AWS/ApplicationELB TargetGroup": r"<AWS::ElasticLoadBalancingV2::TargetGroup \w+ TargetGroupFullName>",
    "AWS/ECS ClusterName": r"<AWS::ECS::Cluster \w+>",
    "AWS/ECS ServiceName": r"<AWS::ECS::Service \w+ Name>",
    "AWS/RDS DBInstanceIdentifier": r"<AWS::RDS::DBInstance \w+>",
    "AWS/ElastiCache CacheClusterId": r"<AWS::ElastiCache::ReplicationGroup \w+>-001",
    "AWS/EC2 InstanceId": r"<AWS::EC2::Instance \w+>",
    "AWS/EC2 AutoScalingGroupName": r"<AWS::AutoScaling::AutoScalingGroup \w+>",
}


def check_numbers(site: Path) -> None:
    """Whatever an alarm or a scaling looks at is a number of something that is there: with another it stays silent."""
    for stack in stacks(site).values():
        lines = stack.resources("AWS::Logs::MetricFilter").values()
        made = [each for properties in lines for each in properties["MetricTransformations"]]
        own = {(each["MetricNamespace"], each["MetricName"]) for each in made}
        told = {(stack.name, each) for each in re.findall(r'": "(\w+)"', set_of("ec2", "mvp")["ec2/numbers.py"])}
        for properties in stack.resources(ALARM, "AWS::ApplicationAutoScaling::ScalingPolicy").values():
            looks_at = [each for each in (properties, *(v for _, v in walk(properties))) if isinstance(each, dict)]
            for each in (each for each in looks_at if "MetricName" in each):
                if each["Namespace"].startswith("AWS/"):
                    assert each["Dimensions"], each["MetricName"]
                    for one in each["Dimensions"]:
                        wanted = DIMENSIONS[f"{each['Namespace']} {one['Name']}"]
                        assert re.fullmatch(wanted, one["Value"]), f"{each['MetricName']}: {one}"
                else:
                    assert (each["Namespace"], each["MetricName"]) in own | told, each["MetricName"]


def check_alarms(site: Path) -> None:
    """Each tells somebody, and says in words what is wrong; somebody is told."""
    topics = [stack.resources("AWS::SNS::Topic") for stack in stacks(site).values()]
    assert any(topic["Subscription"][0]["Endpoint"] for each in topics for topic in each.values())
    seen = 0
    for stack in stacks(site).values():
        for name, alarm in stack.resources(ALARM).items():
            assert any("AWS::SNS::Topic" in each for each in alarm.get("AlarmActions", [])), f"{name} tells nobody"
            assert re.search(r"\. .*|\.$", alarm["AlarmDescription"]), name
            seen += 1
    assert seen >= 5


def check_open(site: Path) -> None:
    """The world reaches the web's ports and nothing else."""
    for stack in stacks(site).values():
        for name, group in stack.resources("AWS::EC2::SecurityGroup").items():
            for each in group["SecurityGroupIngress"]:
                if "CidrIp" in each:
                    assert each["FromPort"] == each["ToPort"] and each["FromPort"] in (80, 443), name


def check_waits(site: Path) -> None:
    """Who waits for whom: each has longer than whoever it waits for."""
    found = stacks(site)
    if "aws/balancer.yaml" not in found:
        return
    (balancer,) = found["aws/balancer.yaml"].resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    (group,) = found["aws/balancer.yaml"].resources("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    idle_s = int(attributes(balancer["LoadBalancerAttributes"])["idle_timeout.timeout_seconds"])
    assert idle_s > max(meta.le for meta in Settings.model_fields["position_s"].metadata if hasattr(meta, "le"))
    for text in (
        (site / path).read_text() for path in ("ecs/service.yaml", "ec2/settings.py") if (site / path).exists()
    ):
        kept = re.search(r'CATALYST_KEEP_ALIVE_S"?(?:, Value)?: "(\d+)"', text)
        assert kept is not None and int(kept[1]) > idle_s, "a webhook is sent into a connection that was just closed"
    # A node that is not ready but lives is not replaced; one that hangs is.
    assert group["HealthCheckPath"] == "/healthz"
    assert int(attributes(group["TargetGroupAttributes"])["deregistration_delay.timeout_seconds"]) < 60
    if "ecs/service.yaml" in found:
        node = node_of(site)
        assert node["StopTimeout"] >= float(environment_of(node)["CATALYST_DRAIN_S"]) + 10
        assert node["StopTimeout"] <= 120, "Fargate allows no more"


CHECKS = (
    check_whole, check_secrets, check_rights, check_kept, check_numbers, check_alarms, check_open, check_waits
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_a_set_for_aws(check: Callable[[Path], None], site: Path) -> None:
    """Each check says what."""
    check(site)


@pytest.mark.slow
def test_the_linter_of_cloudformation(tmp_path: Path) -> None:
    """Over every template once, whichever sets have it."""
    for site in SITES:
        for path, text in set_of(*site).items():
            if path.endswith(".yaml"):
                (tmp_path / f"{site[1]}-{path.replace('/', '-')}").write_text(text)
    check_lint(tmp_path)


# --- What only one of them has ---------------------------------------------------------------------------------------


def test_the_container_runs_as_nobody_and_may_do_nothing(ecs: Path) -> None:
    """As the image says too; and the port and the check are those of the image."""
    node, image = node_of(ecs), (ecs / "docker" / "Dockerfile").read_text()
    assert node["User"] == "10001:10001" and f"USER {node['User']}" in image
    assert node["ReadonlyRootFilesystem"] is True
    assert node["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]
    assert node["Ulimits"] == [{"Name": "nofile", "SoftLimit": 65536, "HardLimit": 65536}]
    assert node["LogConfiguration"]["Options"]["mode"] == "non-blocking"
    stated = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", image, re.DOTALL)
    assert stated is not None and ["CMD", *json.loads(stated[1])] == node["HealthCheck"]["Command"]
    (service,) = stacks(ecs)["ecs/service.yaml"].resources("AWS::ECS::Service").values()
    ports = {node["PortMappings"][0]["ContainerPort"], service["LoadBalancers"][0]["ContainerPort"]}
    assert ports == {8080} and "EXPOSE 8080" in image
    assert node["Command"] == ["serve"] and 'CMD ["serve"]' in image
    assert "TaskRoleArn" not in stacks(ecs)["ecs/service.yaml"].resources(TASK)["Task"], "it asks nothing of AWS"


def test_a_deployment_that_does_not_come_up_goes_back(ecs: Path) -> None:
    """New ones first."""
    (service,) = stacks(ecs)["ecs/service.yaml"].resources("AWS::ECS::Service").values()
    deployment = service["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100 and deployment["MaximumPercent"] == 200
    assert "DesiredCount" not in service, "a release would undo what the scaling did"


def test_the_task_that_restores_may_write_where_it_writes(ecs: Path) -> None:
    """Fargate gives a volume to root, unless the image names it: then to whoever has the folder there."""
    (container,) = stacks(ecs)["ecs/service.yaml"].resources(TASK)["Restore"]["ContainerDefinitions"]
    (mount,) = container["MountPoints"]
    image, ours = ((ecs / folder / "Dockerfile").read_text() for folder in ("docker", "ecs"))
    assert f"\nVOLUME {mount['ContainerPath']}\n" in ours
    assert re.search(rf"install -d -o catalyst .* {mount['ContainerPath']}\b", image)
    assert mount["ContainerPath"] == container["WorkingDirectory"]


def test_the_replica_has_room_for_all_that_it_follows(ecs: Path) -> None:
    """Its disk does not grow with the primary's. (Its parameters are the primary's, unasked.)"""
    databases = stacks(ecs)["aws/data.yaml"].resources("AWS::RDS::DBInstance")
    primary, replica = databases["Database"], databases["DatabaseReplica"]
    assert replica["MaxAllocatedStorage"] == primary["MaxAllocatedStorage"] == "200"
    assert "DBParameterGroupName" not in replica


def test_the_service_scales_on_its_processor_and_on_connections(ecs: Path) -> None:
    """Which are counted by the load balancer: twice each, and of all nodes together."""
    policies = stacks(ecs)["ecs/service.yaml"].resources("AWS::ApplicationAutoScaling::ScalingPolicy")
    told = [each["TargetTrackingScalingPolicyConfiguration"] for each in policies.values()]
    assert any(
        each.get("PredefinedMetricSpecification") == {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
        for each in told
    )
    (metrics,) = [
        each["CustomizedMetricSpecification"]["Metrics"] for each in told if "CustomizedMetricSpecification" in each
    ]
    (said,) = [each for each in metrics if each["ReturnData"]]
    known = {each["Id"]: each["MetricStat"]["Metric"]["MetricName"] for each in metrics if "MetricStat" in each}
    assert known == {"open": "ActiveConnectionCount", "nodes": "HealthyHostCount"}
    assert eval(said["Expression"], {"open": 8000, "nodes": 2}) == 2000


def test_the_guides_stop_every_node_before_they_restore(ecs: Path) -> None:
    """A number below the least, and scaling starts them again; and an ill machine is replaced in the middle of it."""
    guide = (ecs / "ecs.md").read_text()
    stop, start = guide.index("TasksMin=0 TasksMax=0"), guide.index("TasksMin=2 TasksMax=4")
    assert stop < guide.index("aws ecs run-task") < guide.index("DatabaseName=restored") < start
    parameters = stacks(ecs)["ecs/service.yaml"].template["Parameters"]
    assert parameters["TasksMin"]["MinValue"] == parameters["TasksMax"]["MinValue"] == 0
    guide = set_of("ec2", "small")["ec2.md"]
    small = guide.index("## small")
    assert guide.index("suspend-processes") < guide.index("systemctl stop catalyst@8080", small)
    assert guide.index("DatabaseName=restored") < guide.index("resume-processes")


@pytest.mark.parametrize("replica", ["true", "false"])
def test_the_settings_of_a_task_are_taken(ecs: Path, replica: str) -> None:
    """By the server's own checks; and the first key is one that the template takes."""
    found = stacks(ecs, {"aws/data.yaml": {"Replica": replica}})
    node = node_of(ecs)
    given = {name.removeprefix("CATALYST_").lower(): value for name, value in environment_of(node).items()}
    settings = Settings(**given)
    assert settings.public_url == "https://signals.example.org"
    assert settings.trusted_proxies == ["10.77.0.0/24", "10.77.1.0/24"]
    urls = json.loads(found["aws/data.yaml"].resources()["CacheUrls"]["SecretString"])
    assert urls["broker"].partition(":")[0] in BROKERS and urls["cache"].partition(":")[0] in CACHES
    url = found["aws/data.yaml"].resources()["StoreUrl"]["Value"]
    assert (
        url.partition(":")[0] in STORES and "sslmode=verify-full" in url and ("replica=" in url) is (replica == "true")
    )
    secrets = {each["Name"] for each in node["Secrets"]}
    assert secrets == {"PGPASSWORD", "CATALYST_BROKER_URL", "CATALYST_CACHE_URL", "CATALYST_ADMIN_KEY"}
    for path in ("ecs", "ec2"):
        text = set_of(path, "small")[f"{path}/{'service' if path == 'ecs' else 'catalyst'}.yaml"]
        pattern = re.search(r"AdminKey:\n.*\n.*\n    AllowedPattern: '(.*)'", text)
        assert pattern is not None and re.fullmatch(pattern[1], new_key("live")[1])


def test_both_kinds_of_nodes_have_the_same_settings(ecs: Path) -> None:
    """Fargate and EC2 are the same program on the same data."""
    plain = re.findall(r'"(CATALYST_\w+)"', set_of("ec2", "small")["ec2/settings.py"])
    node = node_of(ecs)
    fargate = {*environment_of(node), *(each["Name"] for each in node["Secrets"])} - {"PGPASSWORD", "CATALYST_DRAIN_S"}
    assert set(plain) - {"CATALYST_HOST"} == fargate, "CATALYST_HOST is in the image"


def test_the_firewall_lets_every_body_through(ecs: Path) -> None:
    """A signal may hold what looks like an attack, and up to 4 MiB: rules over bodies and queries only count."""
    (firewall,) = stacks(ecs)["aws/balancer.yaml"].resources("AWS::WAFv2::WebACL").values()
    assert [value for key, value in walk(firewall) if key == "SampledRequestsEnabled"] == [False] * 5, (
        "paths are secrets"
    )
    groups = {
        each["Statement"]["ManagedRuleGroupStatement"]["Name"]: {
            one["Name"] for one in each["Statement"]["ManagedRuleGroupStatement"].get("RuleActionOverrides", [])
            if one["ActionToUse"] == {"Count": {}}
        }
        for each in firewall["Rules"] if "ManagedRuleGroupStatement" in each["Statement"]
    }  # fmt: skip
    common = groups["AWSManagedRulesCommonRuleSet"]
    assert {"SizeRestrictions_BODY", "CrossSiteScripting_BODY", "GenericRFI_BODY", "NoUserAgent_HEADER"} <= common
    assert CHANNEL_NAME.fullmatch("eur.log") and "RestrictedExtensions_URIPATH" in common, "a channel is in the path"
    assert {"Log4JRCE_BODY", "JavaDeserializationRCE_BODY"} <= groups["AWSManagedRulesKnownBadInputsRuleSet"]
    assert "AWSManagedRulesSQLiRuleSet" not in groups, "a filter looks like SQL"
    assert any("RateBasedStatement" in each["Statement"] for each in firewall["Rules"])


def test_the_scripts_of_machines_are_sound(tmp_path: Path) -> None:
    """shellcheck over what runs at a machine's first start, also what stands in the templates."""
    for scale in ("mvp", "small"):
        folder = written("ec2", scale, tmp_path / scale)
        machines = stacks(folder)["ec2/catalyst.yaml"].resources()
        (data,) = [value for key, value in walk(machines) if key == "UserData"]
        script = folder / "user-data.sh"
        script.write_text(re.sub("<[^<>\n]*>", "x", data))
        checked("shellcheck", "-e", "SC1091", script)
    checked("shellcheck", tmp_path / "small" / "ec2" / "node.sh")


def test_the_single_machine_leaves_the_key_of_the_backups_to_the_unit(tmp_path: Path) -> None:
    """What stands in offsite.env wins over the unit's own words, and root's file is not the program's to read."""
    folder = written("ec2", "mvp", tmp_path)
    unit = (folder / "systemd" / "catalyst-offsite.service").read_text()
    own = set(re.findall(r"(\w+)=", " ".join(re.findall(r"^Environment=(.*)", unit, re.MULTILINE))))
    assert "RESTIC_PASSWORD_FILE" in own and "EnvironmentFile=/etc/catalyst/offsite.env" in unit
    resources = stacks(folder)["ec2/catalyst.yaml"].resources()
    (script,) = [value for key, value in walk(resources) if key == "UserData"]
    (line,) = re.findall(r"^(.*) >/etc/catalyst/offsite.env$", script, re.MULTILINE)
    assert set(re.findall(r"([A-Z_]+)=", line)) == {"RESTIC_REPOSITORY"}


BALANCER = "Name: LoadBalancer, Value: !ImportValue {'Fn::Sub': '${Balancer}-LoadBalancerName'}"
TELLS = "      AlarmActions: [!ImportValue {'Fn::Sub': '${Network}-Alarms'}]\n"
TOKEN = "AuthToken: !Sub '{{resolve:secretsmanager:${CacheToken}:SecretString}}'"
MISTAKES = [
    (DATA, "DBInstanceIdentifier, Value: !Ref Database}", "DBInstanceIdentifier, Value: db}", check_numbers),
    (TASKS, "MetricName: critical\n      Statistic", "MetricName: kritical\n      Statistic", check_numbers),
    (TASKS, BALANCER, BALANCER.replace("LoadBalancerName", "NodesName"), check_numbers),
    (TASKS, "'${Balancer}-Nodes'", "'${Balancer}-Knots'", check_whole),
    (TASKS, "StopTimeout: 30", "StopTimeout: 10", check_waits),
    (TASKS, 'CATALYST_KEEP_ALIVE_S, Value: "90"', 'CATALYST_KEEP_ALIVE_S, Value: "60"', check_waits),
    (DOOR, 'timeout_seconds, Value: "75"', 'timeout_seconds, Value: "60"', check_waits),
    (DOOR, "HealthCheckPath: /healthz", "HealthCheckPath: /readyz", check_waits),
    (TASKS, "Action: secretsmanager:GetSecretValue", "Action: secretsmanager:*", check_rights),
    (TASKS, "NoEcho: true", "NoEcho: false", check_secrets),
    (DATA, TOKEN, "AuthToken: hunter2", check_secrets),
    (DATA, "StorageEncrypted: true", "StorageEncrypted: false", check_kept),
    (DATA, "DeletionPolicy: Snapshot", "DeletionPolicy: Delete", check_kept),
    (TASKS, f"{TELLS}  Errors", "  Errors", check_alarms),
    (NET, "FromPort: 443, ToPort: 443,", "FromPort: 22, ToPort: 22,", check_open),
    pytest.param(TASKS, "LaunchType:", "LaunchTypes:", check_lint, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("path", "right", "wrong", "check"), MISTAKES)
def test_a_mistake_is_found(path: str, right: str, wrong: str, check: Callable[[Path], None], ecs: Path) -> None:
    """A check that finds nothing is no check."""
    text = (ecs / path).read_text()
    assert right in text, right
    (ecs / path).write_text(text.replace(right, wrong, 1))
    with pytest.raises((AssertionError, KeyError)):
        check(ecs)
