{{/*
What the pods of both programs have in common: the highest level of Pod Security,
and replicas that no single host or zone takes along. The argument is a dict of
root, component and values (the program's part of them).
*/}}
{{- define "pillion.podMetadata" -}}
labels:
  {{- include "pillion.labels" . | nindent 2 }}
  {{- with .values.pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pillion.podSpec" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "pillion.podSecurity" . | nindent 2 }}
{{- with .values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  # Counted for one version of the pods, so that the old ones of a rolling update
  # do not hold up the new ones.
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: DoNotSchedule
    # A node that takes no new pods does not count, else its drain would leave a
    # replica without a place.
    nodeTaintsPolicy: Honor
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "pillion.selectorLabels" . | nindent 8 }}
  # A zone that is down must not keep the replicas of the others from starting.
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "pillion.selectorLabels" . | nindent 8 }}
{{- end }}

{{- define "pillion.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "pillion.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
