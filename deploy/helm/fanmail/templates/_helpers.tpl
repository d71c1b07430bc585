{{- define "fanmail.labels" -}}
app.kubernetes.io/name: fanmail
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "fanmail.selector" -}}
app.kubernetes.io/name: fanmail
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fanmail.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "fanmail.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
automountServiceAccountToken: false
# A service called fanmail would set FANMAIL_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Doing it every time would open the directory of a broker to a group, on which it does not start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fanmail.container" -}}
image: {{ include "fanmail.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "fanmail.settings" -}}
{{- range $name, $value := . }}
- {name: {{ printf "FANMAIL_%s" (upper $name) | quote }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end -}}

{{- define "fanmail.description" -}}
[cluster]
name = {{ .Release.Name | quote }}
epoch = {{ .Values.epoch }}
{{ range $n, $broker := .Values.brokers }}
[[brokers]]
id = "broker-{{ $n }}"
endpoint = "tcp://{{ $.Release.Name }}-broker-{{ $n }}-0.{{ $.Release.Name }}-brokers.{{ $.Release.Namespace }}.svc.{{ $.Values.clusterDomain }}:7100"
key = {{ required (printf "brokers[%d].key: the public key of broker-%d, which bin/keys curve prints" $n $n) $broker.key | quote }}
{{ end }}
[[fronts]]
name = "front"
key = {{ required "front.key: the public key of the fronts, which bin/keys curve prints" .Values.front.key | quote }}

[fanmail]
store = "sqlite"
data = "/var/lib/fanmail"
{{- end -}}
