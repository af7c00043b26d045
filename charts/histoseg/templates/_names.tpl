{{/* Names, labels, images and where the store is: what the other templates say about this release. */}}

{{/* At most 40 characters: KubeRay appends to the name of a cluster, and Kubernetes ends names at 63. `make submit`
(histoseg/kube/settings.py) derives the same name from RELEASE. */}}
{{- define "histoseg.fullname" -}}
{{- $name := include "histoseg.release" . -}}
{{- $full := contains "histoseg" $name | ternary $name (printf "%s-histoseg" $name) -}}
{{- regexReplaceAll "-+$" ($full | trunc 40) "" -}}
{{- end -}}

{{/* What to write for RELEASE= */}}
{{- define "histoseg.release" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end -}}

{{/* The interactive cluster's name. The Secret in which KubeRay puts the cluster's token has the same. */}}
{{- define "histoseg.clusterName" -}}
{{ include "histoseg.fullname" . }}-cluster
{{- end -}}

{{/* Labels of a pod; (list $ "head"). The chart's version is not among them: a change of it alone must restart nothing. */}}
{{- define "histoseg.podLabels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
    "app.kubernetes.io/name" "histoseg"
    "app.kubernetes.io/instance" $root.Release.Name
    "app.kubernetes.io/version" (toString $root.Chart.AppVersion)
    "app.kubernetes.io/managed-by" $root.Release.Service
    "app.kubernetes.io/component" (index . 1) -}}
{{- merge $own $root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels of an object; (list $ "head"). */}}
{{- define "histoseg.labels" -}}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name ((index . 0).Chart.Version | replace "+" "_") }}
{{ include "histoseg.podLabels" . }}
{{- end -}}

{{/* What selects this release's pods; (list $ "head"), or (list $) for all of them. */}}
{{- define "histoseg.selector" -}}
app.kubernetes.io/name: histoseg
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
{{- if gt (len .) 1 }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}
{{- end -}}

{{/* A full reference; (list $ .Values.images.train). */}}
{{- define "histoseg.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "histoseg.rayVersion" -}}
{{ index .Chart.Annotations "histoseg.io/ray-version" }}
{{- end -}}

{{- define "histoseg.storeUrl" -}}
{{ ternary "s3://histoseg" .Values.store.url .Values.store.seaweedfs.enabled }}
{{- end -}}

{{- define "histoseg.storeEndpoint" -}}
{{- if .Values.store.seaweedfs.enabled -}}
http://{{ include "histoseg.fullname" . }}-store.{{ .Release.Namespace }}.svc:8333
{{- else -}}
{{ .Values.store.endpoint }}
{{- end -}}
{{- end -}}

{{/* The ports at which the store answers, as a JSON list. */}}
{{- define "histoseg.storePorts" -}}
{{- $port := (urlParse .Values.store.endpoint).host | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- if .Values.networkPolicy.storePorts -}}
{{ .Values.networkPolicy.storePorts | toJson }}
{{- else if $port -}}
[{{ $port }}]
{{- else -}}
[{{ ternary 80 443 (hasPrefix "http://" .Values.store.endpoint) }}]
{{- end -}}
{{- end -}}
