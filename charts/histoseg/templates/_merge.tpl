{{/* Values that are laid over objects of ours: podTemplate, head.podTemplate, workerGroups[].podTemplate, job.spec and
cluster.spec. They are merged as `kubectl patch` would, so sprig's merge, which replaces lists, does not serve. */}}

{{/* The template of a pod with all podTemplates that apply to it; (dict "root" $ "component" "head" "spec" <its spec>), and
optionally "labels" and "over", a list of (list <the value's name> <the value>). */}}
{{- define "histoseg.podTemplate" -}}
{{- $labels := include "histoseg.podLabels" (list .root .component) | fromYaml -}}
{{- $template := dict "metadata" (dict "labels" (merge $labels (.labels | default dict))) "spec" (.spec | fromYaml) -}}
{{- $main := (first $template.spec.containers).name -}}
{{- range prepend (.over | default list) (list "podTemplate" .root.Values.podTemplate) -}}
{{- include "histoseg.refusePodTemplate" . -}}
{{- $over := index . 1 | default dict | deepCopy -}}
{{- if dig "spec" "containers" list $over -}}
{{- $_ := set $over.spec "containers" (include "histoseg.containersOf" (list $main $over.spec.containers) | mustFromJson) -}}
{{- end -}}
{{- $template = include "histoseg.merged" (list $template $over) | mustFromJson -}}
{{- end -}}
{{- toYaml $template -}}
{{- end -}}

{{/* Of the containers in a podTemplate those for one pod, as JSON; (list <name of its main container> <containers>). The
name * stands for the main container of every pod; the chart's other containers are in other pods. */}}
{{- define "histoseg.containersOf" -}}
{{- $main := index . 0 -}}
{{- $chosen := list -}}
{{- range index . 1 -}}
{{- $container := eq .name "*" | ternary (merge (dict "name" $main) .) . -}}
{{- if or (eq $container.name $main) (not (has $container.name (include "histoseg.ownContainers" . | mustFromJson))) -}}
{{- $chosen = append $chosen $container -}}
{{- end -}}
{{- end -}}
{{- toJson $chosen -}}
{{- end -}}

{{- define "histoseg.ownContainers" -}}
["ray-head", "ray-worker", "ray-job-submitter", "prepare", "exporter", "doctor", "seaweedfs"]
{{- end -}}

{{/* A part laid over an object, as JSON; (list <the object> <the part>). Maps are merged, and null removes a field. */}}
{{- define "histoseg.merged" -}}
{{- $merged := deepCopy (index . 0) -}}
{{- range $field, $part := index . 1 -}}
{{- $found := get $merged $field -}}
{{- if kindIs "invalid" $part -}}
{{- $_ := unset $merged $field -}}
{{- else if kindIs "map" $part -}}
{{- $object := kindIs "map" $found | ternary $found dict -}}
{{- $_ := set $merged $field (include "histoseg.merged" (list $object $part) | mustFromJson) -}}
{{- else if and (kindIs "slice" $part) (kindIs "slice" $found) -}}
{{- $_ := set $merged $field (include "histoseg.mergedList" (list $field $found $part) | mustFromJson) -}}
{{- else -}}
{{- $_ := set $merged $field $part -}}
{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* The same for a list; (list <its field> <the list> <the part>). An item of the part is merged into the item of the same
name, or replaces it if it may have one of several kinds of content, such as a volume; new items are appended, because
KubeRay takes the first container for Ray's. */}}
{{- define "histoseg.mergedList" -}}
{{- $field := index . 0 -}}
{{- $names := dict "containers" "name" "initContainers" "name" "env" "name" "volumes" "name" "imagePullSecrets" "name" -}}
{{- $names = merge $names (dict "resourceClaims" "name" "volumeMounts" "mountPath" "topologySpreadConstraints" "topologyKey") -}}
{{- $name := get (merge $names (dict "workerGroupSpecs" "groupName")) $field -}}
{{- if has $field (list "tolerations" "envFrom") -}}
{{- concat (index . 1) (index . 2) | toJson -}}
{{- else if not $name -}}
{{- index . 2 | toJson -}}
{{- else -}}
{{- $merged := index . 1 -}}
{{- range $part := index . 2 -}}
{{- $items := list -}}
{{- $new := list $part -}}
{{- range $item := $merged -}}
{{- if ne (get $item $name | toString) (get $part $name | toString) -}}
{{- $items = append $items $item -}}
{{- else -}}
{{- $merges := has $field (list "containers" "initContainers" "workerGroupSpecs") -}}
{{- $items = append $items ($merges | ternary (include "histoseg.merged" (list $item $part) | mustFromJson) $part) -}}
{{- $new = list -}}
{{- end -}}
{{- end -}}
{{- $merged = concat $items $new -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}
{{- end -}}

{{/* The values that are merged over jobs and their pods, by name: `make submit` finds in them what the API server refuses. */}}
{{- define "histoseg.overrides" -}}
{{- $all := dict "podTemplate" .Values.podTemplate "head.podTemplate" .Values.head.podTemplate "job.spec" .Values.job.spec -}}
{{- range .Values.workerGroups }}{{ $_ := set $all (printf "workerGroups[%s].podTemplate" .name) .podTemplate }}{{ end -}}
{{- range $name, $value := $all }}{{ if not $value }}{{ $_ := unset $all $name }}{{ end }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}
