#!/bin/sh
# A name of your own, a WAF and limits by address in front of Cloud Run: PROJECT=... sh cloudrun/front.sh
#
# A global load balancer with a certificate of Google's, Cloud Armor before it. Afterwards let the name lead to the address
# that is shown, and in service.yaml: ingress internal-and-cloud-load-balancing, and that address in CATALYST_TRUSTED_PROXIES.
set -eu
: "${PROJECT:?the name of your project}"
gcloud config set project "$PROJECT"

gcloud compute addresses create catalyst --global
gcloud compute network-endpoint-groups create catalyst --region europe-west3 --network-endpoint-type serverless --cloud-run-service catalyst
gcloud compute backend-services create catalyst --global --load-balancing-scheme EXTERNAL_MANAGED
gcloud compute backend-services add-backend catalyst --global --network-endpoint-group catalyst --network-endpoint-group-region europe-west3
gcloud compute url-maps create catalyst --default-service catalyst
gcloud compute ssl-certificates create catalyst --global --domains signals.example.org
gcloud compute target-https-proxies create catalyst --url-map catalyst --ssl-certificates catalyst
gcloud compute forwarding-rules create catalyst --global --load-balancing-scheme EXTERNAL_MANAGED \
  --address catalyst --target-https-proxy catalyst --ports 443

# Wider than Catalyst's own limits. The ready-made rules are in preview: they would look for attacks in notes of signals and
# in webhooks, which may say anything. Look at their log for a week before you take `--preview` away.
gcloud compute security-policies create catalyst
gcloud compute security-policies rules create 1000 --security-policy catalyst --src-ip-ranges '*' --action throttle \
  --rate-limit-threshold-count 6000 --rate-limit-threshold-interval-sec 60 --conform-action allow --exceed-action deny-429 --enforce-on-key IP
gcloud compute security-policies rules create 2000 --security-policy catalyst --action deny-403 --preview \
  --expression "!request.path.startsWith('/in/') && (evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 1}) || evaluatePreconfiguredWaf('protocolattack-v33-stable', {'sensitivity': 1}))"
gcloud compute backend-services update catalyst --global --security-policy catalyst

gcloud compute addresses describe catalyst --global --format 'value(address)'
