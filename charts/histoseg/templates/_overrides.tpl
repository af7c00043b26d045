{{/* What podTemplate, job.spec, cluster.spec and extraManifests may not say, each with the reason. All else in them is
checked by the API server. */}}

{{/* (list <the value's name> <its podTemplate>) */}}
{{- define "histoseg.refusePodTemplate" -}}
{{- $value := index . 0 -}}
{{- $template := index . 1 | default dict -}}
{{- range $map := list "labels" "annotations" -}}
{{- include "histoseg.refuseReserved" (list (printf "%s.metadata.%s" $value $map) (dig "metadata" $map dict $template)) -}}
{{- end -}}
{{- $rules := dict
    "spec.automountServiceAccountToken" "only the autoscaler reads the Kubernetes API, so only its pods get a token; a projected volume gives one to other pods"
    "spec.restartPolicy" "KubeRay, its autoscaler and Jobs need the one that the chart sets" -}}
{{- if ne $value "head.podTemplate" -}}
{{- $_ := set $rules "spec.terminationGracePeriodSeconds" "a worker's hook computes from it how long it may drain; set workerGroups[].terminationGracePeriodSeconds" -}}
{{- end -}}
{{- include "histoseg.refuseFields" (list $value $template $rules) -}}
{{- range dig "spec" "containers" list $template -}}
{{- if has .name (append (include "histoseg.ownContainers" . | mustFromJson) "*") -}}
{{- include "histoseg.refuseContainer" (list (printf "%s.spec.containers[%s]" $value .name) .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (list <where it is> <a part of one of the chart's containers>) */}}
{{- define "histoseg.refuseContainer" -}}
{{- $where := index . 0 -}}
{{- $container := index . 1 -}}
{{- $rules := dict
    "image" "jobs are named and recorded by their image; set images.train or images.data"
    "command" "the chart or KubeRay writes it"
    "args" "the chart or KubeRay writes it"
    "ports" "Services, NetworkPolicies and PodMonitors name them"
    "lifecycle" "the chart's hooks let a worker drain, and create the bucket of the S3 server" -}}
{{- range $kind := list "requests" "limits" -}}
{{- range $resource := list "cpu" "memory" -}}
{{- $_ := set $rules (printf "resources.%s.%s" $kind $resource) "Ray and make submit count with it; set cpus and memory of head, workerGroups[] or prepare" -}}
{{- end -}}
{{- end -}}
{{- if has $container.name (list "ray-job-submitter" "exporter" "doctor" "seaweedfs") -}}
{{- $rules = pick $rules "image" "command" "args" "ports" "lifecycle" -}}
{{- end -}}
{{- include "histoseg.refuseFields" (list $where $container $rules) -}}
{{- range $container.env -}}
{{- if regexMatch "^(RAY_AUTH_|RAY_ADDRESS$|RAY_REDIS_ADDRESS$|RAY_enable_autoscaler_v2$|FQ_RAY_IP$|KUBERAY_)" (toString .name) -}}
{{- fail (printf "%s.env[%s] cannot be set here: KubeRay sets it; a token of your own is auth.existingSecret" $where .name) -}}
{{- end -}}
{{- if regexMatch "^AWS_(REGION|ENDPOINT_URL|ENDPOINT_URL_S3|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|S3_ADDRESSING_STYLE|CA_BUNDLE)$" (toString .name) -}}
{{- fail (printf "%s.env[%s] cannot be set here: make submit and NetworkPolicies must know the same store; set store.*" $where .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (list <where they are> <labels or annotations>) */}}
{{- define "histoseg.refuseReserved" -}}
{{- $where := index . 0 -}}
{{- range $name, $_ := index . 1 -}}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh|ray\\.io|histoseg\\.io)/" $name -}}
{{- fail (printf "%s: %s is a name that the chart, Helm or KubeRay uses; choose another" $where $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (list <where it is> <an object> <dict of reasons by dotted field>) */}}
{{- define "histoseg.refuseFields" -}}
{{- $where := index . 0 -}}
{{- $object := index . 1 -}}
{{- range $path, $reason := index . 2 -}}
{{- $fields := splitList "." $path -}}
{{- $above := $object -}}
{{- range initial $fields -}}
{{- $above = get $above . | default dict -}}
{{- end -}}
{{- if hasKey $above (last $fields) -}}
{{- fail (printf "%s.%s cannot be set here: %s" $where $path $reason) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* job.spec */}}
{{- define "histoseg.refuseJobSpec" -}}
{{- $submits := "make submit writes it" -}}
{{- $ended := "a finished job would keep its nodes, and Kueue requires it; set job.ttlSecondsAfterFinished" -}}
{{- $rules := dict
    "entrypoint" $submits
    "jobId" $submits
    "submissionMode" "make submit and the NetworkPolicies expect the one that the chart sets"
    "shutdownAfterJobFinishes" $ended
    "deletionStrategy" $ended
    "clusterSelector" "each job has a Ray cluster of its own"
    "submitterPodTemplate" "set podTemplate, in which ray-job-submitter is the submitter's container"
    "submitterConfig.backoffLimit" "set job.submitterBackoffLimit"
    "rayClusterSpec.upgradeStrategy" "KubeRay refuses it in a RayJob" -}}
{{- range $field := list "activeDeadlineSeconds" "preRunningDeadlineSeconds" "backoffLimit" "ttlSecondsAfterFinished" -}}
{{- $_ := set $rules $field (printf "set job.%s" $field) -}}
{{- end -}}
{{- include "histoseg.refuseFields" (list "job.spec" .Values.job.spec $rules) -}}
{{- if hasKey .Values.job.spec "rayClusterSpec" -}}
{{- include "histoseg.refuseClusterSpec" (list . "job.spec.rayClusterSpec" .Values.job.spec.rayClusterSpec) -}}
{{- end -}}
{{- end -}}

{{/* cluster.spec, or job.spec.rayClusterSpec; (list $ <the value's name> <the value>) */}}
{{- define "histoseg.refuseClusterSpec" -}}
{{- $root := index . 0 -}}
{{- $value := index . 1 -}}
{{- $spec := index . 2 -}}
{{- $rules := dict
    "rayVersion" "it is that of the images"
    "authOptions" "set auth.mode and auth.existingSecret"
    "enableInTreeAutoscaling" "set autoscaling.enabled"
    "autoscalerOptions.version" "the chart's pods are written for v2"
    "autoscalerOptions.idleTimeoutSeconds" "set autoscaling.idleTimeoutSeconds"
    "headGroupSpec.template" "set podTemplate or head.podTemplate"
    "headGroupSpec.rayStartParams.num-cpus" "no training may run on the head"
    "headGroupSpec.rayStartParams.num-gpus" "no training may run on the head"
    "headGroupSpec.rayStartParams.memory" "no training may run on the head"
    "headGroupSpec.rayStartParams.object-store-memory" "it fits /dev/shm" -}}
{{- if eq $root.Values.auth.mode "disabled" -}}
{{- $exposed := "everyone who reaches the head could run code in your pods; set auth.mode=token first" -}}
{{- $rules = merge $rules (dict "headGroupSpec.enableIngress" $exposed "headGroupSpec.serviceType" $exposed "headGroupSpec.headService" $exposed) -}}
{{- end -}}
{{- include "histoseg.refuseFields" (list $value $spec $rules) -}}
{{- $names := list -}}
{{- range $root.Values.workerGroups }}{{ $names = append $names .name }}{{ end -}}
{{- range $spec.workerGroupSpecs -}}
{{- if not (has .groupName $names) -}}
{{- fail (printf "%s.workerGroupSpecs has a group with groupName %q, but workerGroups has %s; add it there" $value .groupName (join ", " $names)) -}}
{{- end -}}
{{- $rules := dict
    "template" "set podTemplate or workerGroups[].podTemplate"
    "rayStartParams.num-gpus" "set workerGroups[].gpus"
    "rayStartParams.object-store-memory" "it fits /dev/shm" -}}
{{- range $field := list "replicas" "minReplicas" "maxReplicas" -}}
{{- $_ := set $rules $field (printf "set workerGroups[].%s" $field) -}}
{{- end -}}
{{- include "histoseg.refuseFields" (list (printf "%s.workerGroupSpecs[%s]" $value .groupName) . $rules) -}}
{{- end -}}
{{- end -}}

{{/* extraManifests: nothing that leads strangers to a Ray that asks for no token. */}}
{{- define "histoseg.refuseManifests" -}}
{{- $v := .Values -}}
{{- range $v.extraManifests -}}
{{- $what := printf "extraManifests: %s %v" .kind .metadata.name -}}
{{- $opens := and (eq .kind "Service") (has (dig "spec" "type" "" .) (list "LoadBalancer" "NodePort")) -}}
{{- if or $opens (regexMatch "(Ingress|Route|Gateway|VirtualService|HTTPProxy)" .kind) -}}
{{- if eq $v.auth.mode "disabled" -}}
{{- fail (printf "%s makes the release reachable, but auth.mode is disabled: everyone could run code in your pods; set auth.mode=token" $what) -}}
{{- end -}}
{{- if and (not $opens) $v.networkPolicy.enabled (not $v.networkPolicy.clientNamespaces) -}}
{{- fail (printf "%s makes the release reachable, but networkPolicy.clientNamespaces is empty, so its controller cannot reach the head; name the controller's namespace there" $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
