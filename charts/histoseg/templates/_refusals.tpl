{{/* Contradictions between values, each refused with the reason and a remedy; values.schema.json checks single values. */}}
{{- define "histoseg.refuse" -}}
{{- $v := .Values -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "histoseg.fullname" .)) -}}
{{- fail (printf "release %s: objects would be named %s, but a Service's name begins with a letter and has small letters, digits and hyphens; choose another name for the release, or set fullnameOverride" .Release.Name (include "histoseg.fullname" .)) -}}
{{- end -}}
{{- if and $v.store.seaweedfs.enabled (or $v.store.url $v.store.endpoint) -}}
{{- fail "store.seaweedfs.enabled is true, and store.url or store.endpoint is set: there can be only one store; clear these, or switch store.seaweedfs.enabled off" -}}
{{- end -}}
{{- if not (or $v.store.seaweedfs.enabled $v.store.url) -}}
{{- fail "store.url is empty: name the bucket that results go to, e.g. --set store.url=s3://my-bucket/histoseg (or, to try things out, --set store.seaweedfs.enabled=true)" -}}
{{- end -}}
{{- if and $v.store.seaweedfs.enabled (not $v.store.existingSecret) -}}
{{- fail "store.existingSecret is empty: SeaweedFS takes its access key from this Secret; create one with kubectl create secret generic, as README.md shows" -}}
{{- end -}}
{{- if and $v.store.seaweedfs.enabled $v.store.caConfigMap -}}
{{- fail "store.caConfigMap is set, but store.seaweedfs.enabled is true: SeaweedFS uses no certificate; clear store.caConfigMap, or switch store.seaweedfs.enabled off" -}}
{{- end -}}
{{- if and $v.store.url (not $v.store.existingSecret) (not $v.serviceAccount.annotations) (not $v.serviceAccount.podIdentity) -}}
{{- fail "store.existingSecret and serviceAccount.annotations are both empty: pods would have no credentials for the store; name a Secret with an access key, annotate the service accounts for AWS workload identity, or set serviceAccount.podIdentity=true" -}}
{{- end -}}
{{- if and (eq $v.auth.mode "disabled") (not $v.auth.acceptUnauthenticated) -}}
{{- fail "auth.mode is disabled: everyone who can reach port 8265 of a head could run code in your pods; set auth.mode=token, or accept this with auth.acceptUnauthenticated=true" -}}
{{- end -}}
{{- if and (eq $v.auth.mode "disabled") $v.auth.existingSecret -}}
{{- fail "auth.existingSecret is set, but auth.mode is disabled: the token would be ignored; set auth.mode=token, or clear auth.existingSecret" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled $v.kueue.queue -}}
{{- fail "autoscaling.enabled is true and kueue.queue is set: Kueue admits a job with all of its pods and does not see those that Ray would add; choose one of the two" -}}
{{- end -}}
{{- if and $v.kueue.priorityClass (not $v.kueue.queue) -}}
{{- fail "kueue.priorityClass is set, but kueue.queue is empty: it has no effect without a queue; name the LocalQueue" -}}
{{- end -}}
{{- if and $v.priorityClass.create (not $v.priorityClass.name) -}}
{{- fail "priorityClass.create is true, but priorityClass.name is empty: name the class to create" -}}
{{- end -}}
{{- if and $v.monitoring.dashboards.enabled (not $v.monitoring.enabled) -}}
{{- fail "monitoring.dashboards.enabled is true, but monitoring.enabled is false: dashboards would stay empty without PodMonitors; set monitoring.enabled=true" -}}
{{- end -}}
{{- if and $v.fullnameOverride (not (contains "histoseg" $v.fullnameOverride)) -}}
{{- fail (printf "fullnameOverride is %s, which lacks the word histoseg: make submit would look for %s-histoseg; add the word, e.g. %s-histoseg" $v.fullnameOverride $v.fullnameOverride $v.fullnameOverride) -}}
{{- end -}}
{{- range $name, $image := omit $v.images "pullPolicy" -}}
{{- if and (eq $image.tag "latest") (not $image.digest) -}}
{{- fail (printf "images.%s.tag is latest, which may be another image at each pull, so results could not be reproduced; name a version, or set images.%s.digest" $name $name) -}}
{{- end -}}
{{- end -}}
{{- include "histoseg.refuseReserved" (list "commonLabels" $v.commonLabels) -}}
{{- if and $v.cluster.spec (not $v.cluster.enabled) -}}
{{- fail "cluster.spec is set, but cluster.enabled is false: it belongs to the interactive cluster and would have no effect; set cluster.enabled=true, or job.spec.rayClusterSpec for the clusters of jobs" -}}
{{- end -}}
{{- include "histoseg.refuseManifests" . -}}
{{- range $v.access.researchers -}}
{{- if and .namespace (ne .kind "ServiceAccount") -}}
{{- fail (printf "access.researchers: %s %s has a namespace, but only a ServiceAccount has one; remove it" .kind .name) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $v.workerGroups -}}
{{- if has .name $names -}}
{{- fail (printf "workerGroups: two groups are named %s; names must be distinct, so rename one" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- include "histoseg.refuseGroup" (list $ .) -}}
{{- end -}}
{{- end -}}

{{- define "histoseg.refuseGroup" -}}
{{- $autoscaling := (index . 0).Values.autoscaling.enabled -}}
{{- $group := index . 1 -}}
{{- if and (index . 0).Values.kueue.queue (has $group.name (list "head" "submitter")) -}}
{{- fail (printf "workerGroups: a group is named %s and kueue.queue is set: Kueue uses the names head and submitter for other pods of a job; rename the group" $group.name) -}}
{{- end -}}
{{- $replicas := int $group.replicas -}}
{{- $min := include "histoseg.minReplicas" $group | int -}}
{{- $max := include "histoseg.maxReplicas" $group | int -}}
{{- if or (gt $min $replicas) (gt $replicas $max) -}}
{{- fail (printf "workerGroups: %s has minReplicas %d, replicas %d, maxReplicas %d; they must be in ascending order" $group.name $min $replicas $max) -}}
{{- end -}}
{{- if and (not $autoscaling) (lt $replicas 1) -}}
{{- fail (printf "workerGroups: %s has replicas 0 and autoscaling is disabled, so it would never have a worker; set replicas, or remove the group" $group.name) -}}
{{- end -}}
{{- if and $autoscaling (lt $max 1) -}}
{{- fail (printf "workerGroups: %s has maxReplicas 0, so it would never have a worker; raise it, or remove the group" $group.name) -}}
{{- end -}}
{{- if and (not $autoscaling) (or (ne $min $replicas) (ne $max $replicas)) -}}
{{- fail (printf "workerGroups: %s has minReplicas or maxReplicas other than its replicas, but autoscaling.enabled is false, so it would never be scaled; enable autoscaling, or remove both" $group.name) -}}
{{- end -}}
{{- $shm := include "histoseg.mebibytes" ($group.shmSize | default "2Gi") | int64 -}}
{{- if ge $shm (include "histoseg.mebibytes" $group.memory | int64) -}}
{{- fail (printf "workerGroups: %s has memory %s and shmSize %s, which counts towards it; give it more memory, or less shmSize" $group.name $group.memory ($group.shmSize | default "2Gi")) -}}
{{- end -}}
{{- if and $group.gpuResource (not $group.gpus) -}}
{{- fail (printf "workerGroups: %s has gpuResource %s, but no gpus; set gpus, or remove gpuResource" $group.name $group.gpuResource) -}}
{{- end -}}
{{- end -}}

{{/* "2Gi" as 2048. */}}
{{- define "histoseg.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- mul $number (get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[A-Za-z]+$" .)) -}}
{{- end -}}
