{{/* A RayJob without name and entrypoint, which `make submit` fills in. */}}
{{- define "histoseg.rayJob" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "histoseg.labels" (list . "head") | nindent 4 }}
    {{- with include "histoseg.queueLabels" . }}{{ . | nindent 4 }}{{ end }}
spec:
  {{- include "histoseg.refuseJobSpec" . }}
  {{- include "histoseg.merged" (list (include "histoseg.rayJobSpec" . | fromYaml) .Values.job.spec) | mustFromJson | toYaml | nindent 2 }}
{{- end -}}

{{- define "histoseg.rayJobSpec" -}}
submissionMode: K8sJobMode
shutdownAfterJobFinishes: true
# Removes the Ray cluster. The RayJob stays, with its final status.
ttlSecondsAfterFinished: {{ .Values.job.ttlSecondsAfterFinished | int }}
activeDeadlineSeconds: {{ .Values.job.activeDeadlineSeconds | int }}
# For each attempt; the value is for all of them, and 1 the least that KubeRay takes.
preRunningDeadlineSeconds: {{ max 1 (div (int .Values.job.preRunningDeadlineSeconds) (add1 (int .Values.job.backoffLimit))) }}
# A retry has a new cluster while the old one may still be writing; leases in the store protect the results.
backoffLimit: {{ .Values.job.backoffLimit | int }}
submitterConfig:
  backoffLimit: {{ .Values.job.submitterBackoffLimit | int }}
submitterPodTemplate:
  {{- include "histoseg.podTemplate" (dict
      "root" . "component" "submitter" "spec" (include "histoseg.submitterPod" .)) | nindent 2 }}
rayClusterSpec:
  {{- include "histoseg.rayClusterSpec" . | nindent 2 }}
{{- end -}}

{{- define "histoseg.submitterPod" -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "histoseg.pullSecrets" . }}{{ . | nindent 0 }}{{ end }}
{{- with include "histoseg.placement" .Values }}{{ . | nindent 0 }}{{ end }}
securityContext:
  {{- include "histoseg.podSecurity" . | nindent 2 }}
# In place of KubeRay's `ray job submit`, which ends when its connection to the log does. `make submit` adds the
# entrypoint as an argument; KubeRay adds the head's address, the job's id and the token.
containers:
  - name: ray-job-submitter
    image: {{ include "histoseg.image" (list . .Values.images.train) | quote }}
    imagePullPolicy: {{ .Values.images.pullPolicy }}
    command: [python, -m, ray_jobs.submitter]
    env:
      {{- include "histoseg.noGpus" . | nindent 6 }}
    resources:
      {{- include "histoseg.resources" (dict "cpu" "500m" "memory" "1Gi") | nindent 6 }}
    securityContext:
      {{- include "histoseg.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: home
        mountPath: /home/histoseg
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 1Gi
  - name: home
    emptyDir:
      sizeLimit: 1Gi
{{- end -}}

{{- define "histoseg.queueLabels" -}}
{{- with .Values.kueue.queue -}}
kueue.x-k8s.io/queue-name: {{ . | quote }}
{{- end }}
{{- with .Values.kueue.priorityClass }}
kueue.x-k8s.io/priority-class: {{ . | quote }}
{{- end }}
{{- end -}}
