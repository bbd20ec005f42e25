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

{{/* The names of what belongs to each of the two programs. */}}
{{- define "pillion.webhook.name" -}}
{{ include "pillion.fullname" . }}-webhook
{{- end }}
{{- define "pillion.controller.name" -}}
{{ include "pillion.fullname" . }}-controller
{{- end }}

{{/*
The name of what belongs to no namespace. Releases of different revisions never
clash, since neither the name of a release nor a revision has a dot. Two of the same
name and revision do clash, whatever their namespaces, and Helm refuses the second
one: both would answer for the same pods.
*/}}
{{- define "pillion.clusterName" -}}
{{ include "pillion.fullname" . }}{{ with .Values.injector.revision }}.{{ . }}{{ end }}
{{- end }}

{{/* Whether pillion-controller runs: for the certificates, the audits, MeshServices or several of them. */}}
{{- define "pillion.controller.enabled" -}}
{{ if or (include "pillion.controller.certificates" .) .Values.controller.auditor.enabled .Values.controller.meshServices.enabled }}true{{ end }}
{{- end }}
{{- define "pillion.controller.certificates" -}}
{{ if eq .Values.tls.source "controller" }}true{{ end }}
{{- end }}
{{- define "pillion.controller.evicts" -}}
{{ if and .Values.controller.auditor.enabled .Values.controller.auditor.evict.enabled }}true{{ end }}
{{- end }}

{{/* Whether it sees to MeshServices. */}}
{{- define "pillion.controller.meshServices" -}}
{{ if .Values.controller.meshServices.enabled }}true{{ end }}
{{- end }}

{{/* Whether Kubernetes has ValidatingAdmissionPolicy. */}}
{{- define "pillion.admissionPolicies" -}}
{{ if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* Whether there is a guard. */}}
{{- define "pillion.guard.enabled" -}}
{{ if and .Values.guard.enabled (include "pillion.admissionPolicies" .) }}true{{ end }}
{{- end }}

{{/*
Whether the release brings a definition; the argument is a dict of root and name. With Auto
that is the release without a revision, and not if somebody else has brought it: Helm
would refuse the whole release. Where Helm only renders, lookup finds nobody.
*/}}
{{- define "pillion.crds.install" -}}
{{- $install := .root.Values.crds.install -}}
{{- if eq $install "Always" -}}
true
{{- else if and (eq $install "Auto") (not .root.Values.injector.revision) (not (include "pillion.crds.owner" .)) -}}
true
{{- end -}}
{{- end }}

{{/* Who else has brought a definition: a release, or no release of Helm's; empty where nobody has. */}}
{{- define "pillion.crds.owner" -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $by := .metadata.annotations | default dict -}}
{{- $release := get $by "meta.helm.sh/release-name" -}}
{{- $namespace := get $by "meta.helm.sh/release-namespace" -}}
{{- if not $release -}}
no release of Helm's
{{- else if not (and (eq $release $.root.Release.Name) (eq $namespace $.root.Release.Namespace)) -}}
release {{ $release }} in namespace {{ $namespace }}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
What a Deployment's selector and a Service's selector say: never changes. The
argument is a dict of root and component.
*/}}
{{- define "pillion.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of an object that belongs to a component, webhook or controller. */}}
{{- define "pillion.labels" -}}
{{ include "pillion.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- define "pillion.webhook.selectorLabels" -}}
{{ include "pillion.selectorLabels" (dict "root" . "component" "webhook") }}
{{- end }}
{{- define "pillion.webhook.labels" -}}
{{ include "pillion.labels" (dict "root" . "component" "webhook") }}
{{- end }}
{{- define "pillion.controller.labels" -}}
{{ include "pillion.labels" (dict "root" . "component" "controller") }}
{{- end }}

{{/* An image of the release; the argument is a dict of root and image. */}}
{{- define "pillion.image" -}}
{{- with .image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.root.Chart.AppVersion }}
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

