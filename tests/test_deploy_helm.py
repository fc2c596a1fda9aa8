"""The Helm chart: what Helm, Kubernetes' own schemas and the program itself say of all that it renders.

Its containers are started for real in tests/services/test_pods.py.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from catalyst_signals.deploy import targets
from tests.charts import CASES, EVERYTHING, Manifest, folder, merged, one, pods, rendered, texts
from tests.deployed import checked, composed, set_of
from tests.services.child import program

FIXTURES = Path(__file__).parent / "fixtures"
OLDEST, NEWEST = "1.27", "1.37"  # What Chart.yaml asks for, and what is there today.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}  # Of operators: Kubernetes' schemas do not have them.

case = pytest.mark.parametrize("given", CASES.values(), ids=CASES)


@case
def test_helm_finds_nothing_to_complain_of(given: dict[str, Any]) -> None:
    """As `helm lint --strict`; an icon is all that it would like to have."""
    said = helm_python.lint(str(folder() / "catalyst"), given, strict=True)
    assert not said["errors"]
    assert [each["error"] for each in said["messages"]] == ["icon is recommended"]


@case
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_one_that_kubernetes_takes(given: dict[str, Any], version: str) -> None:
    """No unknown field, no number where text belongs: the API server would refuse it, or pass over it."""
    manifests = rendered(given)
    assert manifests
    for each in manifests:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"store": "mysql"}, "store"),
        ({"shutdown": {"drainSeconds": "10"}}, "drainSeconds"),
        ({"ingress": {"enabled": True}}, "domain"),
        ({"domain": "https://signals.example.org"}, "domain"),
        ({"ingress": {"tls": {"issuer": "x"}}}, "issuer"),
        ({"settings": {"CATALYST_POL_S": 1}}, "CATALYST_POL_S"),
        ({"settings": {"CATALYST_STORE_URL": "postgresql://user:secret@host/log"}}, "CATALYST_STORE_URL"),
        ({"settings": {"CATALYST_POLL_S": True}}, "CATALYST_POLL_S"),
        ({"secretSettings": ["CATALYST_POLL_S"]}, "secretSettings"),
        ({"networkPolicy": {"from": [{"podselector": {}}]}}, "podselector"),
        ({"probes": {"ready": "/metrics"}}, "ready"),
        ({"postgresql": {"size": "20"}}, "size"),
        ({"gateway": {"enabled": True}, "domain": "a.example"}, "name"),
    ],
)
def test_a_value_that_is_misspelt_or_wrong_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    """Helm passes over a name that it does not know: nobody would notice that a limit was never set."""
    with pytest.raises(helm_python.HelmValuesError, match=named):
        rendered(wrong)


def test_every_setting_of_the_program_can_be_said() -> None:
    """A new one has its line in the chart's schema, or is one that the chart sets itself."""
    from catalyst_signals.server.settings import Settings

    schema = json.loads((folder() / "catalyst" / "values.schema.json").read_text())
    free = set(schema["properties"]["settings"]["propertyNames"]["enum"])
    secret = set(schema["properties"]["secretSettings"]["items"]["enum"])
    server = pods(rendered(EVERYTHING))["server"]
    said = set(EVERYTHING["settings"]) | set(
        yaml.safe_load((folder() / "catalyst" / "values.yaml").read_text())["settings"]
    )
    chart = {each["name"] for each in server["spec"]["containers"][0]["env"]} - said
    files = {f"CATALYST_LOG_FILE{end}" for end in ("", "_BYTES", "_COUNT")}  # A pod's log is its standard error.
    all_ = {f"CATALYST_{name.upper()}" for name in Settings.model_fields}
    assert free | secret | files | (chart & all_) == all_
    assert not free & (secret | files | chart)


def test_every_value_of_the_chart_is_in_its_schema() -> None:
    """Nothing can be said that nobody reads, and nothing is read that cannot be said."""
    schema = json.loads((folder() / "catalyst" / "values.schema.json").read_text())
    defaults = yaml.safe_load((folder() / "catalyst" / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(defaults)
    templates = "".join(path.read_text() for path in (folder() / "catalyst" / "templates").rglob("*") if path.is_file())
    for name in defaults:
        assert re.search(rf"\.Values\.{name}\b", templates) or name in ("postgresql", "redis"), f"nobody reads {name}"


def test_numbers_come_into_the_environment_as_they_were_written() -> None:
    """Helm reads 20971520 as a float, and would write 2.097152e+07."""
    env = _plain(pods(rendered(EVERYTHING))["server"])
    assert (env["CATALYST_RING_BYTES"], env["CATALYST_POLL_S"], env["CATALYST_PORT"]) == ("20971520", "0.5", "8080")


@case
def test_no_secret_stands_in_what_is_rendered(given: dict[str, Any]) -> None:
    """It is in the release's history, in Git and in whoever's terminal; a password comes from the Secret alone."""
    manifests = rendered(given)
    assert not [each for each in manifests if each["kind"] == "Secret"]
    secret = re.compile(r"(PASSWORD|AUTH|ADMIN_KEY|SENTRY_DSN|LOG_SHIP_URL)$")
    for pod in pods(manifests).values():
        for name, value in _plain(pod).items():
            assert not secret.search(name), f"{name} stands there"
            assert not re.search(r"://[^/@]*:(?!\$\()[^/@]+@", value), f"{name} has a password"


@case
def test_what_selects_pods_selects_the_right_ones(given: dict[str, Any]) -> None:
    """A Service without pods, or a budget for none, is told by nobody."""
    manifests = rendered(given)
    labels = {part: pod["metadata"]["labels"] for part, pod in pods(manifests).items()}
    seen = 0
    for what, part, selector in _selectors(manifests):
        assert selector, f"{what} selects everything"
        selected = {name for name, own in labels.items() if selector.items() <= own.items()}
        assert selected <= {part}, f"{what} selects {selected}"
        assert selected or part == "backup", f"{what} selects nothing"  # There is a rule for it, copies or not.
        seen += 1
    assert seen >= 3


@case
def test_ingress_leads_to_ports_that_are_there_and_shows_no_numbers(given: dict[str, Any]) -> None:
    """`/metrics` and `/readyz` are for monitoring: strangers are answered by nobody, or 404."""
    manifests = rendered(given)
    services = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "Service"}
    containers = {part: pod["spec"]["containers"][0] for part, pod in pods(manifests).items()}
    for name, service in services.items():
        for port in service["ports"]:
            if "selector" in service:
                there = containers[service["selector"]["app.kubernetes.io/component"]]["ports"]
                assert port["targetPort"] in {each["name"] for each in there}, name
    for each in manifests:
        if each["kind"] == "Ingress":
            paths = {p["path"]: p["backend"]["service"] for p in each["spec"]["rules"][0]["http"]["paths"]}
            for path, backend in paths.items():
                hidden = path in ("/metrics", "/readyz")
                if backend["port"]["name"] == "use-annotation":
                    action = json.loads(
                        each["metadata"]["annotations"][f"alb.ingress.kubernetes.io/actions.{backend['name']}"]
                    )
                    assert hidden
                    assert action["fixedResponseConfig"]["statusCode"] == "404"
                else:
                    assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["ports"]}
                    assert hidden == ("selector" not in services[backend["name"]])
            assert {"/metrics", "/readyz", "/"} <= set(paths) or set(paths) == {"/in/"}


def test_webhooks_go_by_their_own_rules_at_nginx_and_nobody_logs_their_paths() -> None:
    """The path is a secret; a sender sends once, so nginx does it again. One Ingress asks for the certificate."""
    manifests = rendered(EVERYTHING)
    all_, hooks = (one(manifests, "Ingress", name)["metadata"]["annotations"] for name in ("catalyst", "catalyst-in"))
    nginx = "nginx.ingress.kubernetes.io"
    assert hooks[f"{nginx}/enable-access-log"] == "false"
    assert hooks[f"{nginx}/proxy-next-upstream"].endswith("non_idempotent")
    assert "non_idempotent" not in all_[f"{nginx}/proxy-next-upstream"]
    assert all_[f"{nginx}/limit-rps"] == hooks[f"{nginx}/limit-rps"] == "50", "what a person says wins"
    assert int(all_[f"{nginx}/proxy-read-timeout"]) > 60, "positions come once a minute at least"
    assert ["cert-manager.io/cluster-issuer" in each for each in (all_, hooks)] == [True, False]


@case
def test_the_network_lets_in_who_has_to_come_in_and_out_what_has_to_go_out(given: dict[str, Any]) -> None:
    """Whoever is forgotten waits for a time-out."""
    manifests = rendered(given)
    if "NetworkPolicy" not in {each["kind"] for each in manifests}:
        assert given["networkPolicy"] == {"enabled": False}
        return
    policy = one(manifests, "NetworkPolicy")["spec"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": pods(manifests)["server"]["spec"]["containers"][0]["ports"][0]["name"]}]
    assert len(rule["from"]) == 2 + bool(given.get("monitoring"))  # The ingress, the test, Prometheus.
    for part in ("server", "backup"):
        policy = one(manifests, "NetworkPolicy", "catalyst" if part == "server" else "catalyst-backup")["spec"]
        ports = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
        stores = set() if given.get("store") == "sqlite" else {5432, 6379}
        peers = [peer for rule in policy["egress"] for peer in rule.get("to", [])]
        for own in given.get("networkPolicy", {}).get("to", []):
            assert (own in peers) == (part == "server"), "what somebody added is reached by those who deliver"
        assert {53} | stores == ports, f"{part} reaches {ports}"
    for selector in _peers(manifests):
        assert any(selector.items() <= pod["metadata"]["labels"].items() for pod in pods(manifests).values()) or (
            selector["app.kubernetes.io/component"] == "backup"
        ), f"{selector} is nobody"
    for part in ("postgresql", "redis"):
        if part in pods(manifests):
            (port,) = pods(manifests)[part]["spec"]["containers"][0]["ports"]
            (rule,) = one(manifests, "NetworkPolicy", f"catalyst-{part}")["spec"]["ingress"]
            assert [each["port"] for each in rule["ports"]] == [port["containerPort"]]


@case
def test_every_pod_may_do_little_and_says_what_it_needs(given: dict[str, Any]) -> None:
    """As the `restricted` profile of Kubernetes wants it; no token of the API, no root, no disk of its own."""
    for part, pod in pods(rendered(given)).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }, part  # fmt: skip
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), part
            assert "memory" in container["resources"]["limits"], part
            assert re.search(r":v?\d+\.\d+[\w.-]*$", container["image"]), f"{container['image']} is not pinned"
            mounted = {each["name"] for each in container.get("volumeMounts", [])}
            claims = (
                {"data"} if part == "postgresql" or (part == "server" and given.get("store") == "sqlite") else set()
            )
            assert mounted == {each["name"] for each in spec.get("volumes", [])} | claims, part


@case
def test_a_pod_is_given_the_time_that_its_end_takes(given: dict[str, Any]) -> None:
    """SIGKILL in the middle of a drain would lose nobody's signal, but cut everybody at once."""
    for extra in ({}, {"shutdown": {"withdrawSeconds": 30, "drainSeconds": 60}}):
        spec = pods(rendered(merged(given, extra)))["server"]["spec"]
        (container,) = spec["containers"]
        sleep, waits = container["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        assert (
            int(waits) + float(_plain({"spec": spec})["CATALYST_DRAIN_S"]) + 15 <= spec["terminationGracePeriodSeconds"]
        )


@case
def test_nothing_restarts_a_pod_because_its_store_is_away(given: dict[str, Any]) -> None:
    """`/readyz` is 503 then, in all of them: none would be left for those who listen."""
    (container,) = pods(rendered(given))["server"]["spec"]["containers"]
    assert container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_several_pods_are_replaced_one_by_one_and_one_with_a_file_never_overlaps() -> None:
    """A Deployment keeps all that serve; an SQLite file has one writer."""
    small = rendered(EVERYTHING)
    deployment = one(small, "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (container,) = deployment["template"]["spec"]["containers"]
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert deployment["minReadySeconds"] >= waits, "a proxy hears as late of a new pod as of one that goes"
    assert "replicas" not in deployment, "it would undo what the autoscaler did at every upgrade"
    target = one(small, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "catalyst")
    assert one(small, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    mvp = rendered(CASES["mvp"])
    assert one(mvp, "StatefulSet")["spec"]["replicas"] == 1
    assert not {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} & {each["kind"] for each in mvp}


def test_the_autoscaler_asks_for_a_number_that_the_server_has() -> None:
    """A metric of another name never scales anything."""
    from catalyst_signals.metrics import METRICS

    metrics = one(rendered(EVERYTHING), "HorizontalPodAutoscaler")["spec"]["metrics"]
    (connections,) = [each["pods"] for each in metrics if each["type"] == "Pods"]
    assert connections["metric"]["name"] in METRICS
    assert connections["target"]["averageValue"] == "2000"


def test_the_alerts_are_those_of_prometheus_and_find_these_pods(tmp_path: Path) -> None:
    """One home for the rules: part `prometheus`. They look for job="catalyst"."""
    manifests = rendered(EVERYTHING)
    rule = one(manifests, "PrometheusRule")["spec"]
    assert rule == yaml.safe_load(set_of("compose", "small")["prometheus/rules.yml"])
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule))
    checked("promtool", "check", "rules", tmp_path / "rules.yml")
    monitor, service = one(manifests, "ServiceMonitor")["spec"], one(manifests, "Service")
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "catalyst"
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert set(monitor) == {"jobLabel", "selector", "endpoints"}
    assert set(endpoint) == {"port", "path", "interval", "authorization", "relabelings"}
    dashboard = one(manifests, "ConfigMap", "catalyst-dashboard")["data"]["catalyst.json"]
    assert json.loads(dashboard) == json.loads(set_of("compose", "small")["grafana/catalyst.json"])


def test_the_route_is_one_of_the_gateway_api(tmp_path: Path) -> None:
    """By the schema of its own release."""
    schema = FIXTURES / "httproute-1.2.1.schema.json"
    route = one(rendered(CASES["a route"]), "HTTPRoute")
    (tmp_path / "route.json").write_text(json.dumps(route))
    checked("check-jsonschema", "--schemafile", schema, tmp_path / "route.json")
    (tmp_path / "route.json").write_text(json.dumps(merged(route, {"spec": {"rules": [{"backendRef": []}]}})))
    with pytest.raises(AssertionError, match="backendRef"):
        checked("check-jsonschema", "--schemafile", schema, tmp_path / "route.json")


def test_images_are_those_of_compose() -> None:
    """One version of PostgreSQL and Redis in all that we ship."""
    ours, compose = pods(rendered(EVERYTHING)), composed("small")["services"]
    assert ours["postgresql"]["spec"]["containers"][0]["image"] == compose["postgres"]["image"]
    assert ours["redis"]["spec"]["containers"][0]["image"] == compose["redis"]["image"]


def test_nobody_waits_for_a_disk_that_is_made_in_the_first_night() -> None:
    """`helm --wait` waits for every claim; most clusters bind that of the copies when the first CronJob runs."""
    claims = {each["metadata"]["name"] for each in rendered(EVERYTHING) if each["kind"] == "PersistentVolumeClaim"}
    assert claims == {"catalyst-backup"}
    guide = set_of("kubernetes", "small")["kubernetes.md"]
    for command in (*re.findall(r"^helm .*$", guide, re.MULTILINE), *targets()["kubernetes"].next):
        assert "--wait" not in command and "--atomic" not in command, command
    assert guide.index("rollout status") < guide.index("helm test")


def test_the_notes_name_what_is_there() -> None:
    """The first thing that is read after an installation."""
    for given in CASES.values():
        notes = texts(given)["catalyst/templates/NOTES.txt"]
        kind, name = re.findall(r"rollout status (\w+)/(\S+)", notes)[0]
        assert one(rendered(given), {"deployment": "Deployment", "statefulset": "StatefulSet"}[kind], name)
        assert ("WARNING" in notes) == (not given.get("trustedProxies") or given.get("backup") == {"enabled": False})


def test_another_release_in_the_same_namespace_has_other_names() -> None:
    """Two installations side by side, as before a move."""
    first, second = rendered(EVERYTHING), rendered(EVERYTHING, "trial")
    assert not {_id(each) for each in first} & {_id(each) for each in second}
    assert len({_id(each) for each in first}) == len(first)


def test_the_guide_makes_other_jobs_of_the_one_that_copies(tmp_path: Path) -> None:
    """Its function `job`, with something that stands for `kubectl`: another command, and at mvp on any machine."""
    job = one(rendered(CASES["mvp"]), "CronJob", "catalyst-backup")["spec"]["jobTemplate"]
    (tmp_path / "job.json").write_text(json.dumps({"spec": job["spec"]}))
    program("jq")
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\ncase "$*" in *create*) cat {tmp_path}/job.json ;; *) cat ;; esac\n')
    (tmp_path / "kubectl").chmod(0o755)
    (function,) = re.findall(r"^job\(\) .*$", set_of("kubernetes", "mvp")["kubernetes.md"], re.MULTILINE)
    for more, gone in (("", False), (" 'del(.spec.template.spec.affinity)'", True)):
        done = subprocess.run(
            ["sh", "-ec", f"{function}\njob restore 'catalyst restore FILE'{more}"], capture_output=True, text=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=20, check=True,
        )  # fmt: skip
        spec = json.loads(done.stdout)["spec"]["template"]["spec"]
        assert spec["containers"][0]["args"] == ["catalyst restore FILE"]
        assert spec["containers"][0]["command"] == ["sh", "-ec"]
        assert ("affinity" not in spec) == gone


# -- EKS --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cloudformation_takes_the_databases_of_eks() -> None:
    """By AWS's own linter."""
    checked("cfn-lint", folder() / "eks" / "data.yaml")


def test_the_load_balancer_outlives_a_silent_client_and_hears_of_an_end_in_time() -> None:
    """Positions come every `position_s`; a pod serves on until the ALB has taken it out."""
    manifests = rendered(CASES["eks"])
    annotations = one(manifests, "Ingress")["metadata"]["annotations"]
    said = dict(re.findall(r"([\w.]+)=([\w.]+)", annotations["alb.ingress.kubernetes.io/load-balancer-attributes"]))
    assert (
        60 < int(said["idle_timeout.timeout_seconds"]) < int(_plain(pods(manifests)["server"])["CATALYST_KEEP_ALIVE_S"])
    )
    looks = [
        int(annotations[f"alb.ingress.kubernetes.io/{name}"])
        for name in ("healthcheck-interval-seconds", "unhealthy-threshold-count")
    ]
    (container,) = pods(manifests)["server"]["spec"]["containers"]
    assert int(container["lifecycle"]["preStop"]["exec"]["command"][1]) > looks[0] * looks[1]
    assert not {"postgresql", "redis"} & set(pods(manifests))


def test_the_cluster_of_eks_has_what_the_chart_needs() -> None:
    """The balancer's controller, disks, numbers for the autoscaler, and a network that knows policies."""
    cluster = yaml.safe_load((folder() / "eks" / "cluster.yaml").read_text())
    addons = {each["name"]: each for each in cluster["addons"]}
    assert {"aws-ebs-csi-driver", "metrics-server", "eks-pod-identity-agent"} <= set(addons)
    assert json.loads(addons["vpc-cni"]["configurationValues"]) == {"enableNetworkPolicy": "true"}
    storage = yaml.safe_load((folder() / "eks" / "storage.yaml").read_text())
    kubernetes_validate.validate(storage, NEWEST, strict=True)
    assert CASES["eks"]["backup"]["storageClass"] == storage["metadata"]["name"]
    network = cluster["vpc"]["cidr"]
    assert CASES["eks"]["trustedProxies"] == [network]
    assert CASES["eks"]["networkPolicy"]["from"] == [{"ipBlock": {"cidr": network}}]


# -- what they have in common -----------------------------------------------------------------------------------------


def _plain(pod: Manifest) -> dict[str, str]:
    """Its variables that stand there as they are."""
    found = [each for container in pod["spec"]["containers"] for each in container.get("env", []) if "value" in each]
    return {each["name"]: each["value"] for each in found}


def _id(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _selectors(manifests: list[Manifest]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """What selects, the part that it is for, and the labels."""
    for each in manifests:
        part = each["metadata"]["labels"]["app.kubernetes.io/component"]
        spec, what = each.get("spec", {}), f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Service" and "selector" in spec:
            yield what, part, spec["selector"]
        elif each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            yield what, part, spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            yield what, part, spec["podSelector"]["matchLabels"]
        elif each["kind"] == "ServiceMonitor":
            yield what, "server", one(manifests, "Service")["spec"]["selector"] | spec["selector"]["matchLabels"]


def _peers(manifests: list[Manifest]) -> Iterator[dict[str, str]]:
    """The labels of every pod of ours that a policy names."""
    for each in manifests:
        if each["kind"] == "NetworkPolicy":
            rules = [*each["spec"]["ingress"], *each["spec"]["egress"]]
            for peer in [peer for rule in rules for peer in (*rule.get("from", []), *rule.get("to", []))]:
                if "podSelector" in peer:
                    yield peer["podSelector"]["matchLabels"]
