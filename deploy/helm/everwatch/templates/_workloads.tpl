{{- define "everwatch.statefulSet" -}}
{{- $values := get .root.Values .process -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "everwatch.fullname" .root }}-{{ .process }}
  labels:
    {{- include "everwatch.labels" . | nindent 4 }}
spec:
  serviceName: {{ include "everwatch.fullname" .root }}-{{ .process }}-metrics
  replicas: {{ .replicas }}
  podManagementPolicy: Parallel
  minReadySeconds: {{ $values.minReadySeconds }}
  updateStrategy:
    type: RollingUpdate
  selector:
    matchLabels:
      {{- include "everwatch.selector" . | nindent 6 }}
  template:
    {{- include "everwatch.podTemplate" . | nindent 4 }}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $values.persistence.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $values.persistence.size }}
{{- end -}}

{{- define "everwatch.deployment" -}}
{{- $values := get .root.Values .process -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "everwatch.fullname" .root }}-{{ default .process .component }}
  labels:
    {{- include "everwatch.labels" . | nindent 4 }}
spec:
  {{- if not (and (eq .process "executor") $values.autoscaling.enabled) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  minReadySeconds: {{ $values.minReadySeconds }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "everwatch.selector" . | nindent 6 }}
  template:
    {{- include "everwatch.podTemplate" . | nindent 4 }}
{{- end -}}
