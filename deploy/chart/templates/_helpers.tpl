{{- define "heddle.replicas" -}}
{{- if .Values.ha -}}{{ max 3 (int .Values.replicas) }}{{- else -}}{{ int .Values.replicas }}{{- end -}}
{{- end -}}
{{- define "heddle.trustBundle" -}}
heddle-trust-bundle{{ if ne .Release.Namespace "heddle-system" }}-{{ .Release.Namespace }}{{ end }}
{{- end -}}
