{{/* What a pod of the component `process` is made of; also of the Job that makes topics. */}}
{{- define "everwatch.podBase" -}}
serviceAccountName: {{ include "everwatch.serviceAccount" .root }}
automountServiceAccountToken: false
# links would set EVERWATCH_API_PORT and the like, which are settings
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "everwatch.podSecurity" .root | nindent 2 }}
{{- end -}}

{{- define "everwatch.podTemplate" -}}
{{- $values := get .root.Values .process -}}
metadata:
  labels:
    {{- include "everwatch.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "everwatch.configChecksum" .root }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "everwatch.podBase" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- include "everwatch.spread" . | trim | nindent 4 }}
  containers:
    {{- range include "everwatch.containersOf" . | fromJsonArray }}
    {{- include "everwatch.container" (dict "root" $.root "process" .) | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "everwatch.volumes" . | nindent 4 }}
{{- end -}}

{{- define "everwatch.container" -}}
{{- $values := get .root.Values .process -}}
- name: {{ .process }}
  image: {{ include "everwatch.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: [{{ .process }}]
  securityContext:
    {{- include "everwatch.containerSecurity" .root | nindent 4 }}
  envFrom:
    - configMapRef:
        name: {{ include "everwatch.fullname" .root }}-settings
  {{- with include "everwatch.env" . | trim }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  ports:
    - name: {{ include "everwatch.metricsPortName" . }}
      containerPort: {{ include "everwatch.metricsPort" . }}
    {{- if eq .process "api" }}
    - name: http
      containerPort: 8470
    {{- end }}
  startupProbe:
    {{- include "everwatch.probe" (dict "call" . "path" "/healthz" "times" .root.Values.probes.startup) | nindent 4 }}
  livenessProbe:
    {{- include "everwatch.probe" (dict "call" . "path" "/healthz" "times" .root.Values.probes.liveness) | nindent 4 }}
  readinessProbe:
    {{- include "everwatch.probe" (dict "call" . "path" "/readyz" "times" .root.Values.probes.readiness) | nindent 4 }}
  {{- if eq .process "api" }}
  lifecycle:
    preStop:
      # requests still come until the endpoint is gone everywhere
      sleep:
        seconds: 5
  {{- end }}
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  volumeMounts:
    {{- include "everwatch.volumeMounts" . | nindent 4 }}
{{- end -}}

{{- define "everwatch.metricsPortName" -}}
{{- if eq .process (include "everwatch.podOf" .) -}}metrics{{- else -}}metrics-{{ .process }}{{- end -}}
{{- end -}}

{{- define "everwatch.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ include "everwatch.metricsPortName" .call }}
{{ toYaml .times }}
{{- end -}}

{{- define "everwatch.fromSecret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret.name }}
      key: {{ .secret.key }}
{{- end -}}

{{- define "everwatch.kafkaEnv" -}}
{{- $user := include "everwatch.kafkaUser" . | fromJson -}}
{{- if include "everwatch.isSasl" .root }}
- name: EVERWATCH_SASL_USERNAME
  value: {{ required (printf "kafka.user.username, or kafka.users.%s.username: securityProtocol %s needs a user" .process .root.Values.kafka.securityProtocol) $user.username | quote }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_SASL_PASSWORD" "secret" (dict "name" (required (printf "kafka.user.passwordSecret.name, or kafka.users.%s.passwordSecret.name: securityProtocol %s needs a password" .process .root.Values.kafka.securityProtocol) $user.passwordSecret.name) "key" $user.passwordSecret.key)) }}
{{- else if and (eq .root.Values.kafka.securityProtocol "SSL") $user.certificateSecret.name }}
- name: EVERWATCH_SSL_CERTIFICATE_FILE
  value: /etc/everwatch/kafka-{{ .process }}/{{ $user.certificateSecret.certificate }}
- name: EVERWATCH_SSL_KEY_FILE
  value: /etc/everwatch/kafka-{{ .process }}/{{ $user.certificateSecret.key }}
{{- end }}
{{- end -}}

{{- define "everwatch.env" -}}
{{- $values := get .root.Values .process -}}
{{- $secrets := .root.Values.secrets -}}
{{- include "everwatch.kafkaEnv" . | trim }}
{{- if eq .process "worker" }}
- name: EVERWATCH_WORKER_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- if ne .process (include "everwatch.podOf" .) }}
- name: EVERWATCH_METRICS_PORT
  value: {{ include "everwatch.metricsPort" . | quote }}
{{- end }}
{{- if and (has .process (list "sink" "notifier" "api")) (eq .root.Values.database.type "postgresql") }}
{{- $url := .root.Values.database.urlSecret }}
{{- if not $url.name }}{{- fail "database.urlSecret.name: the Secret with the URL of PostgreSQL (or database.type=sqlite)" }}{{- end }}
{{- if and (eq .process "api") .root.Values.database.readerUrlSecret.name }}{{- $url = .root.Values.database.readerUrlSecret }}{{- end }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_DATABASE" "secret" $url) }}
{{- end }}
{{- if and $secrets.encryptionKeys.name (or (has .process (list "worker" "executor")) (and (eq .process "api") $values.decryptsSecrets)) }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_SECRETS_KEY" "secret" $secrets.encryptionKeys) }}
{{- end }}
{{- if and $secrets.proxy.name (eq .process "executor") }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_PROXY" "secret" $secrets.proxy) }}
{{- end }}
{{- if $secrets.schemaRegistryPassword.name }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_SCHEMA_REGISTRY_PASSWORD" "secret" $secrets.schemaRegistryPassword) }}
{{- end }}
{{- if and (eq .process "executor") .root.Values.networkPolicy.enabled .root.Values.networkPolicy.probed }}
- name: EVERWATCH_BLOCKED_ADDRESSES
  value: {{ join "," .root.Values.networkPolicy.probed | quote }}
{{- end }}
{{- if eq .process "api" }}
- name: EVERWATCH_API_HOST
  value: {{ .root.Values.metrics.host | quote }}
- name: EVERWATCH_API_PORT
  value: "8470"
{{- if $secrets.apiAdminToken.name }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_API_ADMIN_TOKEN" "secret" $secrets.apiAdminToken) }}
{{- else if not $values.administratorExists }}
{{- fail "secrets.apiAdminToken.name: the api needs a Secret with a token of an administrator; or make an administrator with 'everwatch api-token create NAME --role admin' and set api.administratorExists=true" }}
{{- end }}
{{- if $secrets.oidcClientSecret.name }}
{{ include "everwatch.fromSecret" (dict "variable" "EVERWATCH_OIDC_CLIENT_SECRET" "secret" $secrets.oidcClientSecret) }}
{{- end }}
{{- end }}
{{- if and (has .process (list "worker" "sink" "api")) (or .root.Values.plans.toml .root.Values.plans.configMap.name) }}
- name: EVERWATCH_PLANS_FILE
  value: /etc/everwatch/plans/{{ .root.Values.plans.configMap.key }}
{{- end }}
{{- if and (eq .process "notifier") (or $values.rules.toml $values.rules.configMap.name) }}
- name: EVERWATCH_NOTIFY_FILE
  value: /etc/everwatch/notify/{{ $values.rules.configMap.key }}
{{- end }}
{{- if and (eq .process "api") .root.Values.backup.enabled .root.Values.backup.watched }}
- name: EVERWATCH_BACKUP_DIR
  value: /backups
{{- end }}
{{- range $name, $value := $values.settings }}
- name: {{ $name }}
  value: {{ include "everwatch.text" $value }}
{{- end }}
{{- with $values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "everwatch.volumeMounts" -}}
{{- $values := get .root.Values .process -}}
{{- $user := include "everwatch.kafkaUser" . | fromJson -}}
- name: data
  mountPath: /var/lib/everwatch
- name: tmp
  mountPath: /tmp
{{- if include "everwatch.hasCa" .root }}
- name: kafka-ca
  mountPath: /etc/everwatch/kafka-ca
  readOnly: true
{{- end }}
{{- if and (eq .root.Values.kafka.securityProtocol "SSL") $user.certificateSecret.name }}
- name: kafka-{{ .process }}
  mountPath: /etc/everwatch/kafka-{{ .process }}
  readOnly: true
{{- end }}
{{- if and (has .process (list "worker" "sink" "api")) (or .root.Values.plans.toml .root.Values.plans.configMap.name) }}
- name: plans
  mountPath: /etc/everwatch/plans
  readOnly: true
{{- end }}
{{- if eq .process "notifier" }}
{{- if or $values.rules.toml $values.rules.configMap.name }}
- name: notify
  mountPath: /etc/everwatch/notify
  readOnly: true
{{- end }}
{{- if $values.secretName }}
- name: notify-secrets
  mountPath: /etc/everwatch/notify-secrets
  readOnly: true
{{- end }}
{{- end }}
{{- if and (eq .process "api") .root.Values.backup.enabled .root.Values.backup.watched }}
- name: backups
  mountPath: /backups
  readOnly: true
{{- end }}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "everwatch.hasCa" -}}
{{- if and (include "everwatch.isTls" .) (include "everwatch.caSecret" . | fromJson).name -}}yes{{- end -}}
{{- end -}}

{{- define "everwatch.volumes" -}}
{{- $processes := include "everwatch.containersOf" . | fromJsonArray -}}
- name: tmp
  emptyDir: {}
{{- if not (or (eq .process "worker") (and (eq .process "sink") (eq .root.Values.database.type "sqlite"))) }}
- name: data
  emptyDir: {}
{{- end }}
{{- include "everwatch.kafkaVolumes" (dict "root" .root "processes" $processes) }}
{{- if and (or (has "worker" $processes) (has "sink" $processes) (has "api" $processes)) (or .root.Values.plans.toml .root.Values.plans.configMap.name) }}
- name: plans
  configMap:
    name: {{ default (printf "%s-plans" (include "everwatch.fullname" .root)) .root.Values.plans.configMap.name }}
{{- end }}
{{- if has "notifier" $processes }}
{{- $rules := .root.Values.notifier.rules }}
{{- if or $rules.toml $rules.configMap.name }}
- name: notify
  configMap:
    name: {{ default (printf "%s-notify" (include "everwatch.fullname" .root)) $rules.configMap.name }}
{{- end }}
{{- with .root.Values.notifier.secretName }}
- name: notify-secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if and (has "api" $processes) .root.Values.backup.enabled .root.Values.backup.watched }}
- name: backups
  persistentVolumeClaim:
    claimName: {{ .root.Values.backup.claimName }}
    readOnly: true
{{- end }}
{{- range $processes }}
{{- with (get $.root.Values .).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "everwatch.kafkaVolumes" -}}
{{- if include "everwatch.hasCa" .root }}
{{- $ca := include "everwatch.caSecret" .root | fromJson }}
- name: kafka-ca
  secret:
    secretName: {{ $ca.name }}
    defaultMode: 0440
    items:
      - key: {{ $ca.key }}
        path: ca.crt
{{- end }}
{{- if eq .root.Values.kafka.securityProtocol "SSL" }}
{{- range .processes }}
{{- $user := include "everwatch.kafkaUser" (dict "root" $.root "process" .) | fromJson }}
{{- if $user.certificateSecret.name }}
- name: kafka-{{ . }}
  secret:
    secretName: {{ $user.certificateSecret.name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
