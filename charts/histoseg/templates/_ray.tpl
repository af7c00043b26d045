{{/* The pod specs of Ray, written once, for the interactive RayCluster and for the template of every RayJob.

KubeRay 1.7 adds to these pods:
- Workers get an init container wait-gcs-ready with the securityContext, environment and mounts of the Ray container, so it
  is restricted as well. The autoscaler's container copies nothing, so autoscalerOptions has what it needs.
- Every Ray, init, autoscaler and submitter container gets RAY_AUTH_MODE and RAY_AUTH_TOKEN (from the cluster's Secret), so
  the token is not mentioned here.
- Probes are HTTP requests of the kubelet at port 52365, which NetworkPolicies allow, so none is written here.
- /dev/shm is added only if nothing is mounted there.
- Pods get the labels of the template and ray.io/…; the head Service selects app.kubernetes.io/name by the value in the
  head's template.
- Commands run in `bash -c`, or in a login shell with ENABLE_LOGIN_SHELL; the image has its PATH in both. */}}

{{- define "histoseg.rayClusterSpec" -}}
rayVersion: {{ include "histoseg.rayVersion" . | quote }}
authOptions:
  mode: {{ .Values.auth.mode }}
  {{- if and (eq .Values.auth.mode "token") .Values.auth.existingSecret }}
  secretName: {{ .Values.auth.existingSecret | quote }}
  {{- end }}
{{- if .Values.autoscaling.enabled }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: {{ .Values.autoscaling.idleTimeoutSeconds }}
  imagePullPolicy: {{ .Values.images.pullPolicy }}
  resources:
    {{- include "histoseg.resources" (dict "cpu" "500m" "memory" "1Gi") | nindent 4 }}
  securityContext:
    {{- include "histoseg.containerSecurity" . | nindent 4 }}
  # The head's volumes; KubeRay mounts the shared logs below /tmp.
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: home
      mountPath: /home/histoseg
{{- end }}
headGroupSpec:
  rayStartParams:
    dashboard-host: 0.0.0.0
    # Nothing of a run is on the head, because a run that takes too much memory would end the whole cluster: trainings
    # request CPUs, and the drivers of runs with several workers request memory.
    num-cpus: "0"
    num-gpus: "0"
    memory: "0"
    {{- include "histoseg.objectStore" . | nindent 4 }}
  template:
    {{- include "histoseg.podTemplate" (dict
        "root" . "component" "head" "spec" (include "histoseg.headPod" .)
        "over" (list (list "head.podTemplate" .Values.head.podTemplate))) | nindent 4 }}
workerGroupSpecs:
  {{- range .Values.workerGroups }}
  - groupName: {{ .name | quote }}
    replicas: {{ .replicas }}
    minReplicas: {{ include "histoseg.minReplicas" . }}
    maxReplicas: {{ include "histoseg.maxReplicas" . }}
    rayStartParams:
      # KubeRay and Ray's autoscaler recognise GPUs of few resource names; without a 0, Ray would offer all GPUs it sees.
      num-gpus: {{ .gpus | default 0 | int | quote }}
      {{- include "histoseg.objectStore" $ | nindent 6 }}
    template:
      {{- include "histoseg.podTemplate" (dict
          "root" $ "component" "worker" "spec" (include "histoseg.workerPod" (list $ .))
          "labels" (dict "histoseg.io/spot" (.spot | default false | toString))
          "over" (list (list (printf "workerGroups[%s].podTemplate" .name) .podTemplate))) | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* Only configurations and log lines pass through Ray's object store, never images; the rest of /dev/shm is for loaders.
Without this number Ray takes 30 % of the memory, or a slow disk if /dev/shm is smaller. */}}
{{- define "histoseg.objectStore" -}}
object-store-memory: "268435456"
{{- end -}}

{{- define "histoseg.minReplicas" -}}
{{ ternary .minReplicas .replicas (hasKey . "minReplicas") }}
{{- end -}}

{{- define "histoseg.maxReplicas" -}}
{{ ternary .maxReplicas .replicas (hasKey . "maxReplicas") }}
{{- end -}}

{{- define "histoseg.gracePeriod" -}}
{{ .terminationGracePeriodSeconds | default 120 }}
{{- end -}}

{{- define "histoseg.headPod" -}}
serviceAccountName: {{ include "histoseg.fullname" . }}-head
# Only the autoscaler uses the Kubernetes API. KubeRay gives this account the Role that it needs.
automountServiceAccountToken: {{ .Values.autoscaling.enabled }}
{{- with .Values.priorityClass.name }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with include "histoseg.placement" .Values }}{{ . | nindent 0 }}{{ end }}
{{- include "histoseg.rayPod" . }}
containers:
  - name: ray-head
    {{- include "histoseg.rayContainer" (list . true) | nindent 4 }}
      {{- include "histoseg.noGpus" . | nindent 6 }}
    ports:
      - name: gcs-server
        containerPort: 6379
      - name: dashboard
        containerPort: 8265
      - name: client
        containerPort: 10001
      - name: metrics
        containerPort: 8080
      - name: as-metrics
        containerPort: 44217
      - name: dash-metrics
        containerPort: 44227
    resources:
      {{- include "histoseg.resources" (dict "cpu" (toString .Values.head.cpus) "memory" .Values.head.memory) | nindent 6 }}
volumes:
  {{- include "histoseg.rayVolumes" (list . "1Gi") | nindent 2 }}
  {{- with .Values.rawData.existingClaim }}
  - name: raw-data
    persistentVolumeClaim:
      claimName: {{ . | quote }}
      readOnly: true
  {{- end }}
{{- end -}}

{{- define "histoseg.workerPod" -}}
{{- $root := index . 0 -}}
{{- $group := index . 1 -}}
{{- $grace := include "histoseg.gracePeriod" $group | int -}}
serviceAccountName: {{ include "histoseg.fullname" $root }}-worker
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ $grace }}
{{- with $group.priorityClassName | default $root.Values.priorityClass.name }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with include "histoseg.placement" $group }}{{ . | nindent 0 }}{{ end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "histoseg.selector" (list $root "worker") | nindent 8 }}
{{- include "histoseg.rayPod" $root }}
containers:
  - name: ray-worker
    {{- include "histoseg.rayContainer" (list $root false) | nindent 4 }}
      {{- if not $group.gpus }}
      {{- include "histoseg.noGpus" $root | nindent 6 }}
      {{- end }}
    ports:
      - name: metrics
        containerPort: 8080
    lifecycle:
      preStop:
        exec:
          # Ray does not learn from Kubernetes that a node is reclaimed. This command tells it, and waits for the next
          # checkpoint; it leaves Ray ten seconds to stop, or a third of the grace period if that is shorter.
          command: [python, -m, ray_jobs.drain, --deadline-s, {{ sub $grace (min 10 (div $grace 3)) | toString | quote }}]
    resources:
      {{- $resources := dict "cpu" (toString $group.cpus) "memory" $group.memory }}
      {{- if $group.gpus }}
      {{- $_ := set $resources ($group.gpuResource | default "nvidia.com/gpu") (toString $group.gpus) }}
      {{- end }}
      {{- include "histoseg.resources" $resources | nindent 6 }}
volumes:
  {{- include "histoseg.rayVolumes" (list $root ($group.shmSize | default "2Gi")) | nindent 2 }}
{{- end -}}

{{/* Shared parts of head and worker pods … */}}
{{- define "histoseg.rayPod" }}
{{- if .Values.autoscaling.enabled }}
# The autoscaler replaces pods; it would not recognise a container that restarts in an old pod as a node.
restartPolicy: Never
{{- end }}
enableServiceLinks: false
{{- with include "histoseg.pullSecrets" . }}{{ . | nindent 0 }}{{ end }}
securityContext:
  {{- include "histoseg.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* … and of their containers; (list $ <whether it is the head's>). Only the head mounts raw data, so a ReadWriteOnce volume
is enough. Ends with the list of variables, to which the caller appends. */}}
{{- define "histoseg.rayContainer" -}}
{{- $root := index . 0 -}}
image: {{ include "histoseg.image" (list $root $root.Values.images.train) | quote }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
securityContext:
  {{- include "histoseg.containerSecurity" $root | nindent 2 }}
volumeMounts:
  - name: shm
    mountPath: /dev/shm
  - name: tmp
    mountPath: /tmp
  - name: home
    mountPath: /home/histoseg
  {{- with include "histoseg.storeCaMount" $root }}{{ . | nindent 2 }}{{ end }}
  {{- if and (index . 1) $root.Values.rawData.existingClaim }}
  - name: raw-data
    mountPath: /data
    readOnly: true
  {{- end }}
env:
  {{- include "histoseg.storeEnv" $root | nindent 2 }}
  # Ray 2.60 itself drains a node that gets SIGTERM, for up to 30 s. A worker's preStop hook has done so before, and a
  # head has nothing that another node could go on with.
  - name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
    value: "0"
{{- end -}}

{{/* Where the NVIDIA runtime is the default, it gives a container all GPUs of its node without this variable. */}}
{{- define "histoseg.noGpus" -}}
- name: NVIDIA_VISIBLE_DEVICES
  value: void
{{- end -}}

{{/* (list $ <size of /dev/shm>). The pages of /dev/shm count towards the container's memory. */}}
{{- define "histoseg.rayVolumes" -}}
{{- $root := index . 0 -}}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ index . 1 }}
- name: tmp
  emptyDir:
    sizeLimit: 20Gi
- name: home
  emptyDir:
    sizeLimit: {{ $root.Values.homeSize }}
{{- with include "histoseg.storeCaVolume" $root }}{{ . | nindent 0 }}{{ end }}
{{- end -}}
