{{/* What every object of this release is called by, and what the pods of one part are selected by. */}}
{{- define "catalyst.labels" -}}
{{ include "catalyst.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "catalyst.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "catalyst.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A value as the environment has it: 20971520, not 2.097152e+07. */}}
{{- define "catalyst.text" -}}
{{- if and (kindIs "float64" .) (eq (float64 (int64 .)) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* All that a pod needs so that it can do little. */}}
{{- define "catalyst.pod-security" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "catalyst.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "catalyst.pull-secrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* One variable out of the Secret. */}}
{{- define "catalyst.from-secret" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secret }}, key: {{ .key | default .name }}{{ if .optional }}, optional: true{{ end }}}}
{{- end }}

{{/* Where the log is. Kubernetes puts the password in: it knows the variables that stand before. */}}
{{- define "catalyst.store" -}}
{{- if eq .Values.store "sqlite" }}
- {name: CATALYST_STORE_URL, value: "sqlite:////var/lib/catalyst/catalyst.db"}
{{- else if .Values.postgresql.inCluster }}
{{ include "catalyst.from-secret" (dict "root" . "name" "POSTGRES_PASSWORD") }}
- {name: CATALYST_STORE_URL, value: "postgresql://catalyst:$(POSTGRES_PASSWORD)@{{ .Release.Name }}-postgresql:5432/catalyst"}
{{- else }}
{{ include "catalyst.from-secret" (dict "root" . "name" "CATALYST_STORE_URL") }}
{{- end }}
{{- end }}

{{- define "catalyst.hints" -}}
{{- if eq .Values.store "sqlite" }}
{{- else if .Values.redis.inCluster }}
{{ include "catalyst.from-secret" (dict "root" . "name" "REDIS_PASSWORD") }}
- {name: CATALYST_BROKER_URL, value: "redis+pubsub://:$(REDIS_PASSWORD)@{{ .Release.Name }}-redis:6379"}
- {name: CATALYST_CACHE_URL, value: "redis://:$(REDIS_PASSWORD)@{{ .Release.Name }}-redis:6379"}
{{- else }}
{{ include "catalyst.from-secret" (dict "root" . "name" "CATALYST_BROKER_URL") }}
{{ include "catalyst.from-secret" (dict "root" . "name" "CATALYST_CACHE_URL") }}
{{- end }}
{{- end }}

{{- define "catalyst.settings" -}}
{{- $own := dict "CATALYST_HOST" "0.0.0.0" "CATALYST_PORT" 8080 "CATALYST_LOG_FORMAT" "json" "CATALYST_DRAIN_S" .Values.shutdown.drainSeconds }}
{{- with .Values.domain }}{{ $_ := set $own "CATALYST_PUBLIC_URL" (printf "https://%s" .) }}{{ end }}
{{- with .Values.trustedProxies }}{{ $_ := set $own "CATALYST_TRUSTED_PROXIES" (join "," .) }}{{ end }}
{{- range $name, $value := merge $own (.Values.settings | default dict) }}
- {name: {{ $name }}, value: {{ include "catalyst.text" $value | quote }}}
{{- end }}
{{- end }}

{{/* The pod of the server, the same in a Deployment and in a StatefulSet. */}}
{{- define "catalyst.server" -}}
metadata:
  labels:
    {{- include "catalyst.labels" (dict "root" . "part" "server") | nindent 4 }}
spec:
  serviceAccountName: {{ .Release.Name }}
  automountServiceAccountToken: false
  enableServiceLinks: false # Else Kubernetes sets CATALYST_PORT to `tcp://...`, for the Service `catalyst`.
  # As long as withdrawing and draining take, and on top what an end with several processes takes.
  terminationGracePeriodSeconds: {{ add .Values.shutdown.withdrawSeconds .Values.shutdown.drainSeconds 15 }}
  securityContext:
    {{- include "catalyst.pod-security" 10001 | nindent 4 }}
  {{- include "catalyst.pull-secrets" . | trim | nindent 2 }}
  {{- if ne .Values.store "sqlite" }}
  topologySpreadConstraints: # Over zones and machines, where there are several.
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "catalyst.selector" (dict "root" $ "part" "server") | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: catalyst
      image: {{ include "catalyst.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [catalyst]
      args: [serve]
      ports:
        - {name: http, containerPort: 8080}
      env:
        - name: CATALYST_NODE
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- include "catalyst.settings" . | trim | nindent 8 }}
        {{- include "catalyst.store" . | trim | nindent 8 }}
        {{- include "catalyst.hints" . | trim | nindent 8 }}
        {{- include "catalyst.from-secret" (dict "root" . "name" "CATALYST_ADMIN_KEY" "optional" true) | nindent 8 }}
        {{- range .Values.secretSettings }}
        {{- include "catalyst.from-secret" (dict "root" $ "name" .) | nindent 8 }}
        {{- end }}
      # None of these asks about PostgreSQL: that it is away is no reason to restart anything.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 150
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: {{ .Values.probes.ready }}, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        preStop: # Meanwhile it serves as before; SIGTERM comes afterwards.
          exec: {command: [sleep, {{ .Values.shutdown.withdrawSeconds | quote }}]}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- include "catalyst.container-security" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if eq .Values.store "sqlite" }}
        - {name: data, mountPath: /var/lib/catalyst}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{/* A disk. */}}
{{- define "catalyst.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .size }}}}
{{- end }}
