{{/* What a Secret or the release says of Redis, where membership is kept. */}}
{{- define "ulysses.rendezvous" -}}
{{- if and .Values.redis.url .Values.redis.urlSecret.name }}
{{- fail "redis.url is given, expected none as redis.urlSecret.name says where it is" }}
{{- end }}
- name: ULYSSES_RENDEZVOUS
{{- if .Values.redis.urlSecret.name }}
  valueFrom: { secretKeyRef: { name: {{ .Values.redis.urlSecret.name | quote }}, key: {{ .Values.redis.urlSecret.key | quote }} } }
{{- else if .Values.redis.url }}
  value: {{ .Values.redis.url | quote }}
{{- else if .Values.redis.bundled }}
  value: redis://{{ .Release.Name }}-redis:6379
{{- else }}
{{- fail "redis.url is empty, expected a URL or redis.urlSecret.name, because redis.bundled is false" }}
{{- end }}
- name: ULYSSES_CLUSTER
  value: {{ .Values.cluster | default (printf "%s.%s" .Release.Namespace .Release.Name) | quote }}
{{- end }}

{{/* How every process of the release meets the others. */}}
{{- define "ulysses.connections" -}}
{{ include "ulysses.rendezvous" . }}
{{- if and .Values.tls.secret .Values.insecure }}
{{- fail "insecure is true, expected false as tls.secret turns mutual TLS on" }}
{{- end }}
{{- if .Values.tls.secret }}
- { name: ULYSSES_TLS_CERT, value: /etc/ulysses/tls/tls.crt }
- { name: ULYSSES_TLS_KEY, value: /etc/ulysses/tls/tls.key }
- { name: ULYSSES_TLS_CA, value: /etc/ulysses/tls/ca.crt }
- { name: ULYSSES_TLS_NAME, value: {{ .Values.tls.name | quote }} }
{{- else if .Values.insecure }}
- { name: ULYSSES_INSECURE, value: 'true' }
{{- else }}
{{- fail "tls.secret is empty, expected a Secret with tls.crt, tls.key and ca.crt, or insecure=true on a network whose every user is trusted" }}
{{- end }}
{{- end }}

{{- define "ulysses.settings" -}}
{{- range $name, $value := . }}
- { name: {{ $name }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- end }}

{{/* Of pods: what changes with a version would restart them all. */}}
{{- define "ulysses.podMetadata" -}}
labels:
  {{- include "ulysses.selector" . | nindent 2 }}
{{- with .part.podLabels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Names of Services are labels of DNS. */}}
{{- define "ulysses.name" -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]{0,50}$" .root.Release.Name) }}
{{- fail (printf "the release is named %q, expected at most 51 of a-z, 0-9 and -, the first a letter" .root.Release.Name) }}
{{- end }}
{{- printf "%s-%s" .root.Release.Name .component }}
{{- end }}

{{- define "ulysses.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "ulysses.labels" -}}
{{ include "ulysses.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Of every pod; .user is its user and group. */}}
{{- define "ulysses.pod" -}}
automountServiceAccountToken: false
# The variables of Services would look like settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  seccompProfile: { type: RuntimeDefault }
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ulysses.container" -}}
imagePullPolicy: {{ .Values.imagePullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "ulysses.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Pods of one component on different nodes, as far as there are any. */}}
{{- define "ulysses.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: { {{ include "ulysses.selector" . | replace "\n" ", " }} } }
{{- end }}

{{/* .part is coordinator or rank of the values. */}}
{{- define "ulysses.mounts" -}}
{{- if or .root.Values.tls.secret .part.extraVolumeMounts }}
volumeMounts:
{{- if .root.Values.tls.secret }}
  - { name: tls, mountPath: /etc/ulysses/tls, readOnly: true }
{{- end }}
{{- with .part.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ulysses.volumes" -}}
{{- if or .root.Values.tls.secret .part.extraVolumes }}
volumes:
{{- if .root.Values.tls.secret }}
  - { name: tls, secret: { secretName: {{ .root.Values.tls.secret | quote }} } }
{{- end }}
{{- with .part.extraVolumes }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
