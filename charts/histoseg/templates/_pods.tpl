{{/* What every pod of the chart has in common. All of it satisfies the Pod Security Standard "restricted". */}}

{{- define "histoseg.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
# Else the kubelet would change the owner of every file of a large volume at each start.
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

{{/* Requests equal limits, so that pods are Guaranteed and the last to be evicted; (dict "cpu" 1 "memory" "1Gi"). */}}
{{- define "histoseg.resources" -}}
requests:
  {{- toYaml . | nindent 2 }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end -}}

{{/* How a pod finds the store and proves who it is. The endpoint is S3's alone: without _S3, a request to AWS's token
service, by which workload identity works, would go there too. */}}
{{- define "histoseg.storeEnv" -}}
- name: AWS_REGION
  value: {{ .Values.store.region | quote }}
{{- with include "histoseg.storeEndpoint" . }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- if .Values.store.existingSecret }}
{{ include "histoseg.storeKeys" . }}
{{- end }}
{{- end -}}

{{- define "histoseg.storeKeys" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.accessKeyKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.secretKeyKey }}
{{- end -}}

{{/* May be empty, so it is included where `with` sees that. */}}
{{- define "histoseg.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
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
securityContext:
  {{- include "histoseg.podSecurity" $root | nindent 2 }}
containers:
  - name: {{ .name }}
    image: {{ include "histoseg.image" (list $root $root.Values.images.data) }}
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
            name: {{ . }}
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
  {{- if .raw }}
  - name: raw-data
    persistentVolumeClaim:
      claimName: {{ $root.Values.rawData.existingClaim }}
      readOnly: true
  {{- end }}
{{- end -}}
