{{- define "everwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "everwatch.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ default .process .component }}
{{- end -}}

{{- define "everwatch.labels" -}}
{{ include "everwatch.selector" . }}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion .root.Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: everwatch
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "everwatch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "everwatch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "everwatch.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{/* Component of the pod that a process runs in: with SQLite one pod holds all that open the database. */}}
{{- define "everwatch.podOf" -}}
{{- if and (eq .root.Values.database.type "sqlite") (has .process (list "sink" "notifier" "api")) -}}sink{{- else -}}{{ .process }}{{- end -}}
{{- end -}}

{{/* Processes of this release, as JSON. */}}
{{- define "everwatch.processes" -}}
{{- $all := list -}}
{{- range list "worker" "executor" "sink" "notifier" "api" -}}
{{- if (get $.Values .).enabled -}}{{- $all = append $all . -}}{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Processes of the pod `process`, as JSON. */}}
{{- define "everwatch.containersOf" -}}
{{- $found := list -}}
{{- range include "everwatch.processes" .root | fromJsonArray -}}
{{- if eq (include "everwatch.podOf" (dict "root" $.root "process" .)) $.process -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Metrics port of a process: one each, as several may share a pod. */}}
{{- define "everwatch.metricsPort" -}}
{{- $port := int64 .root.Values.metrics.port -}}
{{- if eq .process (include "everwatch.podOf" .) -}}{{ $port }}{{- else if eq .process "notifier" -}}{{ add $port 1 }}{{- else -}}{{ add $port 2 }}{{- end -}}
{{- end -}}

{{/* A setting's value as text: whole numbers come out of YAML as floats. */}}
{{- define "everwatch.text" -}}
{{- if kindIs "float64" . -}}{{ int64 . | toString | quote }}{{- else -}}{{ toString . | quote }}{{- end -}}
{{- end -}}

{{- define "everwatch.isSasl" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}yes{{- end -}}
{{- end -}}

{{- define "everwatch.isTls" -}}
{{- if has .Values.kafka.securityProtocol (list "SSL" "SASL_SSL") -}}yes{{- end -}}
{{- end -}}

{{/* The Secret with the brokers' CA, as JSON {name, key}. */}}
{{- define "everwatch.caSecret" -}}
{{- if .Values.kafka.caSecret.name -}}
{{- .Values.kafka.caSecret | toJson -}}
{{- else if .Values.strimzi.enabled -}}
{{- dict "name" (printf "%s-cluster-ca-cert" .Values.strimzi.cluster) "key" "ca.crt" | toJson -}}
{{- else -}}
{{- dict "name" "" "key" "" | toJson -}}
{{- end -}}
{{- end -}}

{{/* The Kafka user of a process, as JSON: its own, else Strimzi's, else the one of all processes. Executors of a region
     have one of their own; without Strimzi they may share the one of all executors. */}}
{{- define "everwatch.kafkaUser" -}}
{{- $user := .root.Values.kafka.user -}}
{{- $component := .process -}}
{{- if and (eq .process "executor") .root.Values.region -}}
{{- $component = printf "executor-%s" .root.Values.region -}}
{{- end -}}
{{- if and .root.Values.strimzi.enabled .root.Values.strimzi.users (ne .process "topics") -}}
{{- $name := printf "%s-%s" (include "everwatch.fullname" .root) $component -}}
{{- $user = dict "username" $name "passwordSecret" (dict "name" $name "key" "password") "certificateSecret" (dict "name" $name "certificate" "user.crt" "key" "user.key") -}}
{{- end -}}
{{- $own := get .root.Values.kafka.users $component | default dict -}}
{{- if not (or $own .root.Values.strimzi.enabled) -}}
{{- $own = get .root.Values.kafka.users .process | default dict -}}
{{- end -}}
{{- mergeOverwrite (deepCopy $user) $own | toJson -}}
{{- end -}}

{{/* Put what executors of `region` are rendered from into `out`, as `root`: their values go over those of `executor`. */}}
{{- define "everwatch.intoRegion" -}}
{{- $own := get .root.Values.regions.executors .region | default dict -}}
{{- $fixed := dict "enabled" true "settings" (dict "EVERWATCH_REGION" .region) -}}
{{- $executor := mergeOverwrite (deepCopy .root.Values.executor) (deepCopy $own) $fixed -}}
{{- $values := set (set (deepCopy .root.Values) "executor" $executor) "region" .region -}}
{{- $_ := set .out "root" (dict "Values" $values "Chart" .root.Chart "Release" .root.Release "Template" .root.Template "Files" .root.Files "Capabilities" .root.Capabilities) -}}
{{- end -}}

{{/* Components of executors, as JSON: without a region, then of each region of this release. */}}
{{- define "everwatch.executorComponents" -}}
{{- $all := list -}}
{{- if .Values.executor.enabled -}}{{- $all = append $all "executor" -}}{{- end -}}
{{- range $region, $own := .Values.regions.executors -}}{{- $all = append $all (printf "executor-%s" $region) -}}{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Ports of kafka.bootstrapServers, as JSON. */}}
{{- define "everwatch.bootstrapPorts" -}}
{{- $all := list -}}
{{- range splitList "," .Values.kafka.bootstrapServers -}}{{- $all = append $all (splitList ":" . | last | trim) -}}{{- end -}}
{{- $all | uniq | toJson -}}
{{- end -}}

{{- define "everwatch.configChecksum" -}}
{{- include (print .Template.BasePath "/configmap.yaml") . | sha256sum -}}
{{- end -}}

{{- define "everwatch.spread" -}}
{{- with (get .root.Values .process).topologySpreadConstraints -}}
{{ toYaml . }}
{{- else -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "everwatch.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "everwatch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "everwatch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
