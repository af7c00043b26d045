{{/* Names, labels, images and the store's address, as the other templates use them. */}}

{{/* At most 40 characters: KubeRay appends to a cluster's name, and Kubernetes allows 63. `make submit`
(histoseg/kube/settings.py) derives the same name from RELEASE. */}}
{{- define "histoseg.fullname" -}}
{{- $name := include "histoseg.release" . -}}
{{- $full := contains "histoseg" $name | ternary $name (printf "%s-histoseg" $name) -}}
{{- regexReplaceAll "-+$" ($full | trunc 40) "" -}}
{{- end -}}

{{/* The value of RELEASE= in `make submit`. */}}
{{- define "histoseg.release" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end -}}

{{/* The interactive cluster's name, which is also the name of the Secret that KubeRay creates for its token. */}}
{{- define "histoseg.clusterName" -}}
{{ include "histoseg.fullname" . }}-cluster
{{- end -}}

{{/* Labels of a pod; (list $ "head"). Without the chart's version: a change of it alone must not restart pods. */}}
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

{{/* Selector of this release's pods; (list $ "head"), or (list $) for all of them. */}}
{{- define "histoseg.selector" -}}
app.kubernetes.io/name: histoseg
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
{{- if gt (len .) 1 }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}
{{- end -}}

{{/* An image with its tag or digest; (list $ .Values.images.train). */}}
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

{{/* The ports on which the store listens, as a JSON list. */}}
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
