{{- define "dnnshifter.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default .Release.Name -}}
{{- end }}

{{- define "dnnshifter.selectorLabels" -}}
app.kubernetes.io/name: dnnshifter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "dnnshifter.labels" -}}
{{ include "dnnshifter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: dnnshifter
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Cluster-scoped names bear the namespace, so that two releases do not meet. */ -}}
{{- define "dnnshifter.clusterName" -}}
{{ .Release.Name }}-{{ .Release.Namespace }}
{{- end }}

{{- define "dnnshifter.runtimeClusterRole" -}}
{{- .Values.rbac.runtimeClusterRole | default (printf "%s-%s-runtime" .Release.Name .Release.Namespace) -}}
{{- end }}
