{{/*
What both entries have in common. "strict" is the operator on the label
pillion.dev/strict that makes them disjoint.
*/}}
{{- define "pillion.webhookEntry" -}}
clientConfig:
  service:
    name: {{ include "pillion.webhook.name" .root }}
    namespace: {{ .root.Release.Namespace }}
    port: {{ .root.Values.webhook.service.port }}
    path: /mutate
admissionReviewVersions: [v1]
sideEffects: None
timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
matchPolicy: Equivalent
# Once more after other webhooks have changed the pod, so that our parts still fit it.
reinvocationPolicy: IfNeeded
rules:
  - operations: [CREATE]
    apiGroups: [""]
    apiVersions: [v1]
    resources: [pods]
    scope: Namespaced
namespaceSelector:
  matchExpressions:
    {{- include "pillion.meshedNamespaces" .root | nindent 4 }}
    - key: pillion.dev/strict
      operator: {{ .strict }}
      values: ["true"]
objectSelector:
  matchExpressions:
    # Any value: one that is nearly right is answered with a warning.
    - key: {{ include "pillion.optIn.label" .root }}
      operator: Exists
{{- end }}

{{/* The expressions that choose the namespaces of the release. */}}
{{- define "pillion.meshedNamespaces" -}}
- key: {{ include "pillion.optIn.label" . }}
  operator: In
  values: [{{ include "pillion.optIn.value" . | quote }}]
{{ include "pillion.revisionSelector" . }}
# Never our own namespace (a webhook that waits for itself never starts) nor
# those that a node needs to come up.
- key: kubernetes.io/metadata.name
  operator: NotIn
  values:
    {{- include "pillion.excludedNames" . | nindent 4 }}
{{- end }}

{{/* Which of several releases a namespace belongs to; each belongs to one. */}}
{{- define "pillion.revisionSelector" -}}
- key: pillion.dev/revision
{{- if .Values.injector.revision }}
  operator: In
  values: [{{ .Values.injector.revision | quote }}]
{{- else }}
  operator: DoesNotExist
{{- end }}
{{- end }}

{{/*
The annotations of both webhook configurations: the user's, and whom cert-manager
takes the CA from.
*/}}
{{- define "pillion.configurationAnnotations" -}}
{{- $annotations := dict -}}
{{- if eq .Values.tls.source "certManager" -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/%s" .Release.Namespace (include "pillion.webhook.name" .)) -}}
{{- end -}}
{{- with mustMerge $annotations .Values.webhook.configurationAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* The namespaces that are excluded by their exact name. */}}
{{- define "pillion.excludedNames" -}}
{{- $names := list .Release.Namespace "kube-system" "kube-node-lease" -}}
{{- range .Values.injector.excludedNamespaces -}}
{{- if not (regexMatch "[*?]" .) -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | toYaml -}}
{{- end }}

{{/*
What selectors cannot say, for both entries. CEL must not fail on a pod without
the field: under failurePolicy Fail an error refuses the pod.
*/}}
{{- define "pillion.matchConditions" -}}
# A static pod runs from kubelet's own file; what the API shows of it stays as it is.
- name: not-a-mirror-pod
  expression: >-
    !(has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations)
{{- $globs := list -}}
{{- range .Values.injector.excludedNamespaces -}}
{{- if regexMatch "[*?]" . -}}
{{- $globs = append $globs (. | replace "?" "[a-z0-9-]" | replace "*" "[a-z0-9-]*") -}}
{{- end -}}
{{- end }}
{{- with $globs }}
# The globs of injector.excludedNamespaces; exact names are in the namespaceSelector.
- name: namespace-not-excluded
  expression: >-
    !request.namespace.matches('^({{ uniq . | join "|" }})$')
{{- end }}
{{- end }}

{{/*
Pods that never get a sidecar are not called for in strict namespaces: they can
start while no webhook answers.
*/}}
{{- define "pillion.strictMatchConditions" -}}
{{- $label := include "pillion.optIn.label" . -}}
{{- $no := without (list "false" "no" "off" "disabled" "0") (include "pillion.optIn.value" . | lower) -}}
# The owner said no.
- name: not-opted-out
  expression: >-
    !(has(object.metadata.labels) && '{{ $label }}' in object.metadata.labels
    && object.metadata.labels['{{ $label }}'].lowerAscii() in ['{{ join "', '" $no }}'])
{{ include "pillion.redirectable" . }}
{{- end }}

{{/* Pods of which the network can be redirected. */}}
{{- define "pillion.redirectable" -}}
# The node's network is never redirected.
- name: not-on-the-host-network
  expression: >-
    !(has(object.spec.hostNetwork) && object.spec.hostNetwork)
# There is no redirect on Windows.
- name: not-on-windows
  expression: >-
    !(has(object.spec.os) && object.spec.os.name == 'windows')
    && !(has(object.spec.nodeSelector) && 'kubernetes.io/os' in object.spec.nodeSelector
    && object.spec.nodeSelector['kubernetes.io/os'] == 'windows')
{{- end }}

{{/*
What the entries about workloads have in common. The operator and the levels are of
the label that names the namespace's Pod Security level, and make them disjoint.
*/}}
{{- define "pillion.workloadEntry" -}}
failurePolicy: Ignore
clientConfig:
  service:
    name: {{ include "pillion.webhook.name" .root }}
    namespace: {{ .root.Release.Namespace }}
    port: {{ .root.Values.webhook.service.port }}
    path: {{ .path }}
admissionReviewVersions: [v1]
sideEffects: None
timeoutSeconds: 2
matchPolicy: Equivalent
rules:
  - operations: [CREATE, UPDATE]
    apiGroups: [apps]
    apiVersions: [v1]
    resources: [deployments, statefulsets, daemonsets, replicasets]
    scope: Namespaced
  - operations: [CREATE, UPDATE]
    apiGroups: [batch]
    apiVersions: [v1]
    resources: [jobs, cronjobs]
    scope: Namespaced
namespaceSelector:
  matchExpressions:
    {{- include "pillion.meshedNamespaces" .root | nindent 4 }}
    - key: pod-security.kubernetes.io/enforce
      operator: {{ .operator }}
      values: [{{ join ", " .levels }}]
# No objectSelector: what has no label may lack it by mistake.
matchConditions:
  # Nobody reads what a controller is told, as about the ReplicaSets of a
  # Deployment; whoever wrote the Deployment was told already.
  - name: not-made-by-a-controller
    expression: >-
      !(has(object.metadata.ownerReferences)
      && object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller))
  # Not for another number of replicas, which autoscalers change all day.
  - name: changes-what-is-looked-at
    expression: >-
      request.operation == 'CREATE'
      || (has(object.metadata.labels) ? object.metadata.labels : {})
      != (has(oldObject.metadata.labels) ? oldObject.metadata.labels : {})
      || (has(object.metadata.annotations) ? object.metadata.annotations : {})
      != (has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {})
      || (has(object.spec.template) ? object.spec.template : object.spec.jobTemplate.spec.template)
      != (has(oldObject.spec.template) ? oldObject.spec.template : oldObject.spec.jobTemplate.spec.template)
  {{- include "pillion.matchConditions" .root | nindent 2 }}
{{- end }}
