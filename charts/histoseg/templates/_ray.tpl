{{/* The pod spec of Ray, written once: the interactive RayCluster and the template of every RayJob are made of it.

What KubeRay (1.7) adds to these pods, and what follows for us:
- The init container wait-gcs-ready of workers copies the Ray container's securityContext, environment and mounts, so it
  is restricted as well. The autoscaler's container copies nothing: autoscalerOptions has what it needs.
- RAY_AUTH_MODE and RAY_AUTH_TOKEN (from the cluster's Secret) are put into every Ray, init, autoscaler and submitter
  container, so there is nothing about the token here.
- Probes are HTTP requests of the kubelet at port 52365, which NetworkPolicies let pass. None is written here.
- /dev/shm is added only where nothing is mounted there.
- Pods get the labels of the template beside ray.io/…; the head Service selects app.kubernetes.io/name as the template
  of the head has it.
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
  # The head's own volumes; KubeRay mounts the logs they share below /tmp.
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: home
      mountPath: /home/histoseg
{{- end }}
headGroupSpec:
  rayStartParams:
    dashboard-host: 0.0.0.0
    # No training is scheduled on the head: one that runs out of memory would take the whole cluster with it. The drivers
    # of runs are, for they ask for no CPU.
    num-cpus: "0"
    num-gpus: "0"
    {{- include "histoseg.objectStore" . | nindent 4 }}
  template:
    metadata:
      labels:
        {{- include "histoseg.podLabels" (list . "head") | nindent 8 }}
    spec:
      {{- include "histoseg.headPod" . | nindent 6 }}
workerGroupSpecs:
  {{- range .Values.workerGroups }}
  - groupName: {{ .name | quote }}
    replicas: {{ .replicas }}
    minReplicas: {{ include "histoseg.minReplicas" . }}
    maxReplicas: {{ include "histoseg.maxReplicas" . }}
    rayStartParams:
      # KubeRay and Ray's autoscaler know the GPUs of few resource names; and without a 0 Ray would offer what it sees.
      num-gpus: {{ .gpus | default 0 | int | quote }}
      {{- include "histoseg.objectStore" $ | nindent 6 }}
    template:
      metadata:
        labels:
          {{- include "histoseg.podLabels" (list $ "worker") | nindent 10 }}
          histoseg.io/spot: {{ .spot | default false | quote }}
      spec:
        {{- include "histoseg.workerPod" (list $ .) | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Only configurations and log lines pass through Ray's object store; images never do. The rest of /dev/shm is for the
loaders' processes. Without a number Ray takes 30 % of the memory, and a slow disk if /dev/shm is smaller. */}}
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
# Only the autoscaler talks to the Kubernetes API. KubeRay gives this account the Role it needs.
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
          # Kubernetes tells Ray nothing of a reclaimed node. This does, and waits for the checkpoint that follows; ten
          # seconds are left for Ray to stop, or a third where there are few.
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

{{/* What head and workers share, pod by pod … */}}
{{- define "histoseg.rayPod" }}
{{- if .Values.autoscaling.enabled }}
# The autoscaler replaces pods; a container that starts again in an old one would be a node it does not know.
restartPolicy: Never
{{- end }}
enableServiceLinks: false
{{- with include "histoseg.pullSecrets" . }}{{ . | nindent 0 }}{{ end }}
securityContext:
  {{- include "histoseg.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* … and container by container; (list $ <whether it is the head's>). Only the head reads raw data, so a volume that one
node has is enough. Ends with the list of variables, to which the caller appends. */}}
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
{{- end -}}

{{/* The NVIDIA runtime gives a container every GPU of its node unless told not to, where it is the default runtime. */}}
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
