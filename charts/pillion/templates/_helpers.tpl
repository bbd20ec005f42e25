{{/*
The name that everything in the release starts with. It leaves room for the
longest suffix within the 63 characters of a Service's name.
*/}}
{{- define "pillion.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The name of everything that belongs to the webhook. */}}
{{- define "pillion.webhook.name" -}}
{{ include "pillion.fullname" . }}-webhook
{{- end }}

{{/* What a Deployment's selector and a Service's selector say: never changes. */}}
{{- define "pillion.webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end }}

{{- define "pillion.webhook.labels" -}}
{{ include "pillion.webhook.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "pillion.webhook.image" -}}
{{- with .Values.webhook.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Secret with tls.crt and tls.key that the webhook serves with. */}}
{{- define "pillion.tlsSecretName" -}}
{{ .Values.tls.secretName | default (printf "%s-tls" (include "pillion.webhook.name" .)) }}
{{- end }}

{{/* The opt-in label's key and value: the same defaults as InjectorConfig's. */}}
{{- define "pillion.optIn.label" -}}
{{ (.Values.injector.optIn).label | default "service-mesh-enabled" }}
{{- end }}
{{- define "pillion.optIn.value" -}}
{{ (.Values.injector.optIn).value | default "true" }}
{{- end }}

{{/*
The InjectorConfig that the webhook reads: values.injector, completed with what
only Helm knows. The release's own namespace is among the excluded ones, so that
the configuration says what the selectors do.
*/}}
{{- define "pillion.injectorConfig" -}}
{{- $config := deepCopy .Values.injector -}}
{{- $_ := set $config "apiVersion" "pillion.dev/v1alpha1" -}}
{{- $_ := set $config "kind" "InjectorConfig" -}}
{{- $_ := set $config "excludedNamespaces" (append ($config.excludedNamespaces | default list) .Release.Namespace | uniq) -}}
{{- if not $config.kubernetesVersion -}}
{{- $_ := set $config "kubernetesVersion" (printf "%s.%s" .Capabilities.KubeVersion.Major .Capabilities.KubeVersion.Minor) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* What neither the schema nor Kubernetes refuses, though it cannot work. */}}
{{- define "pillion.validate" -}}
{{- with .Values.webhook -}}
{{- if eq (int .port) (int .statusPort) -}}
{{- fail (printf "webhook.port and webhook.statusPort are both %d, and the webhook cannot listen twice on one port: give one of them another" (int .port)) -}}
{{- end -}}
{{- end -}}
{{- end }}
