{{/* Parts that all pods of the chart share. They meet the Pod Security Standard "restricted". */}}

{{- define "histoseg.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
# Otherwise the kubelet changes the owner of every file of a large volume at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "histoseg.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Requests equal limits: pods are Guaranteed, so they are evicted last; (dict "cpu" 1 "memory" "1Gi"). */}}
{{- define "histoseg.resources" -}}
requests:
  {{- toYaml . | nindent 2 }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end -}}

{{/* Endpoint and credentials of the store. The endpoint's variable ends in _S3: without it, requests to AWS's token service,
which workload identity uses, would go to the store as well. */}}
{{- define "histoseg.storeEnv" -}}
- name: AWS_REGION
  value: {{ .Values.store.region | quote }}
{{- with include "histoseg.storeEndpoint" . }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- if .Values.store.existingSecret }}
{{ include "histoseg.storeKeys" . }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret | quote }}
      key: {{ .Values.store.sessionTokenKey | quote }}
      optional: true
{{- end }}
{{- with .Values.store.addressingStyle }}
- name: AWS_S3_ADDRESSING_STYLE
  value: {{ . }}
{{- end }}
{{- if .Values.store.caConfigMap }}
- name: AWS_CA_BUNDLE
  value: /etc/histoseg/ca.crt
{{- end }}
{{- end -}}

{{- define "histoseg.storeKeys" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret | quote }}
      key: {{ .Values.store.accessKeyKey | quote }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret | quote }}
      key: {{ .Values.store.secretKeyKey | quote }}
{{- end -}}

{{/* The file that AWS_CA_BUNDLE names. A folder is mounted, because Kubernetes never updates a file mounted alone. */}}
{{- define "histoseg.storeCaMount" -}}
{{- if .Values.store.caConfigMap -}}
- name: store-ca
  mountPath: /etc/histoseg
  readOnly: true
{{- end }}
{{- end -}}

{{- define "histoseg.storeCaVolume" -}}
{{- with .Values.store.caConfigMap -}}
- name: store-ca
  configMap:
    name: {{ . | quote }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end -}}

{{/* May be empty, so include it by `with`. */}}
{{- define "histoseg.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Node selector and tolerations, of .Values (all pods except workers) or of a worker group. May be empty as well. */}}
{{- define "histoseg.placement" -}}
{{- $said := dict -}}
{{- range $key, $value := pick . "nodeSelector" "tolerations" -}}
{{- if $value }}{{ $_ := set $said $key $value }}{{ end -}}
{{- end -}}
{{- if $said }}{{ toYaml $said }}{{ end -}}
{{- end -}}

{{/* The pod of a data command; (dict "root" $ "name" … "args" (list …) "resources" (dict …) "restart" …), and optionally
"ports", "probes", "raw" (mount the raw data) and "token" (the Secret with Ray's token). */}}
{{- define "histoseg.dataPod" -}}
{{- $root := .root -}}
serviceAccountName: {{ include "histoseg.fullname" $root }}-data
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: {{ .restart }}
{{- with include "histoseg.pullSecrets" $root }}{{ . | nindent 0 }}{{ end }}
{{- with include "histoseg.placement" $root.Values }}{{ . | nindent 0 }}{{ end }}
securityContext:
  {{- include "histoseg.podSecurity" $root | nindent 2 }}
containers:
  - name: {{ .name }}
    image: {{ include "histoseg.image" (list $root $root.Values.images.data) | quote }}
    imagePullPolicy: {{ $root.Values.images.pullPolicy }}
    command: [histoseg]
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      {{- include "histoseg.storeEnv" $root | nindent 6 }}
      {{- with .token }}
      - name: RAY_AUTH_TOKEN
        valueFrom:
          secretKeyRef:
            name: {{ . | quote }}
            key: auth_token
      {{- end }}
    {{- with .ports }}
    ports:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .probes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    resources:
      {{- include "histoseg.resources" .resources | nindent 6 }}
    securityContext:
      {{- include "histoseg.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: home
        mountPath: /home/histoseg
      {{- with include "histoseg.storeCaMount" $root }}{{ . | nindent 6 }}{{ end }}
      {{- if .raw }}
      - name: raw-data
        mountPath: /data
        readOnly: true
      {{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 20Gi
  - name: home
    emptyDir:
      sizeLimit: {{ $root.Values.homeSize }}
  {{- with include "histoseg.storeCaVolume" $root }}{{ . | nindent 2 }}{{ end }}
  {{- if .raw }}
  - name: raw-data
    persistentVolumeClaim:
      claimName: {{ $root.Values.rawData.existingClaim | quote }}
      readOnly: true
  {{- end }}
{{- end -}}
