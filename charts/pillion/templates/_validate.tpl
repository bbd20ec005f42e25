{{/* What neither the schema nor Kubernetes refuses, or says so that nobody understands. */}}
{{- define "pillion.validate" -}}
{{- if not (regexMatch "^[a-z]" (include "pillion.fullname" .)) -}}
{{- fail (printf "the names of all objects would start with %q, and a Service's name starts with a letter: give the release another name, or set fullnameOverride" (include "pillion.fullname" .)) -}}
{{- end -}}
{{- with .Values.webhook -}}
{{- if eq (int .port) (int .statusPort) -}}
{{- fail (printf "webhook.port and webhook.statusPort are both %d, and the webhook cannot listen twice on one port: give one of them another" (int .port)) -}}
{{- end -}}
{{- if and (eq $.Values.tls.source "certManager") (hasKey .configurationAnnotations "cert-manager.io/inject-ca-from") -}}
{{- fail "webhook.configurationAnnotations has cert-manager.io/inject-ca-from, which tls.source certManager sets by itself: remove it" -}}
{{- end -}}
{{- end -}}
{{- $common := .Values.commonLabels -}}
{{- range $of, $labels := dict "commonLabels" $common "webhook.pod.labels" .Values.webhook.pod.labels "controller.pod.labels" .Values.controller.pod.labels -}}
{{- range $key, $_ := $labels -}}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (eq $key "helm.sh/chart") -}}
{{- fail (printf "%s has the label %s, which is the chart's own: use another name" $of $key) -}}
{{- end -}}
{{- if and (ne $of "commonLabels") (hasKey $common $key) -}}
{{- fail (printf "%s and commonLabels both have the label %s: remove one of them" $of $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
