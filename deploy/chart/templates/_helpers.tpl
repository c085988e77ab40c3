{{- define "heddle.replicas" -}}
{{- if .Values.ha -}}{{ max 3 (int .Values.replicas) }}{{- else -}}{{ int .Values.replicas }}{{- end -}}
{{- end -}}
