{{- define "precis.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "precis.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "precis.labels" -}}
{{ include "precis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "precis.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "precis.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "precis.image" -}}
{{- printf "%s:%s%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) (ternary "-cuda" "" (and .Values.gpu.enabled (not .Values.image.tag))) }}
{{- end }}

{{/* The server's own configuration file. */}}
{{- define "precis.config" -}}
{{- $set := list "listen" "metrics_listen" "model" "drain_delay" "drain_timeout" "experiments_file" "experiments_state" "experiment_peer" "peer_tls_ca" "peer_tls_cert" "peer_tls_key" "peer_tls_name" "peer_token_file" "peer_plaintext_token" "tls_cert" "tls_key" "tls_client_ca" "auth_tokens_file" "experiments" }}
{{- range $key, $value := .Values.config }}
{{- if has $key $set }}{{ fail (printf "config.%s is set by the chart; see values.yaml for its own setting" $key) }}{{ end }}
{{- end }}
listen: 0.0.0.0:50051
metrics_listen: 0.0.0.0:9464
model:
{{- if not .Values.models }}{{ fail "models: name at least one" }}{{ end }}
{{- range .Values.models }}
  - {{ printf "%s=%s" .name .path | quote }}
{{- end }}
drain_delay: {{ .Values.drain.delaySeconds }}s
drain_timeout: {{ .Values.drain.timeoutSeconds }}s
experiments_file: /etc/precis/experiments/experiments.yaml
{{- if .Values.experimentsState.enabled }}
experiments_state: /var/lib/precis/experiments.db
{{- $name := include "precis.name" . }}{{ $replicas := int .Values.replicas }}
experiment_peer:
{{- range $i := until $replicas }}
  - {{ printf "%s-%d.%s-headless:50051" $name $i $name | quote }}
{{- end }}
{{- if .Values.tls.secretName }}
peer_tls_ca: /etc/precis/tls/ca.crt
{{- with .Values.tls.peerName }}
peer_tls_name: {{ . | quote }}
{{- end }}
{{- if .Values.tls.mutual }}
peer_tls_cert: /etc/precis/tls/tls.crt
peer_tls_key: /etc/precis/tls/tls.key
{{- end }}
{{- end }}
{{- if .Values.auth.secretName }}
peer_token_file: /etc/precis/auth/peer
{{- if not .Values.tls.secretName }}
{{- if not .Values.auth.plaintextPeers }}{{ fail "experimentsState with auth and without tls: the token that servers show to each other would travel in plain text; set tls.secretName, or auth.plaintextPeers where a mesh encrypts" }}{{ end }}
peer_plaintext_token: "on"
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.gpu.enabled }}
device: cuda
{{- end }}
{{- if .Values.tls.secretName }}
tls_cert: /etc/precis/tls/tls.crt
tls_key: /etc/precis/tls/tls.key
{{- if .Values.tls.mutual }}
tls_client_ca: /etc/precis/tls/ca.crt
{{- end }}
{{- end }}
{{- if .Values.auth.secretName }}
auth_tokens_file: /etc/precis/auth/tokens
{{- end }}
{{- with .Values.config }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Experiments are not in the checksum: the server reads them again by itself. */}}
{{- define "precis.podTemplate" -}}
metadata:
  labels:
    {{- include "precis.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    checksum/config: {{ include "precis.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "precis.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # The stop signal follows preStop, and both count: delay, in-flight requests, and some room.
  terminationGracePeriodSeconds: {{ add .Values.drain.delaySeconds .Values.drain.timeoutSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: server
      image: {{ include "precis.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["--config=/etc/precis/server/config.yaml"]
      ports:
        - {name: grpc, containerPort: 50051}
        - {name: metrics, containerPort: 9464}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      # Loading takes its time; then readiness follows the server's own word. By HTTP, since gRPC probes know neither TLS nor tokens.
      startupProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 2
        failureThreshold: {{ div (add .Values.probes.startupSeconds 1) 2 }}
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: {{ .Values.probes.periodSeconds }}
        failureThreshold: 1
      livenessProbe:
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: {{ .Values.probes.periodSeconds }}
        timeoutSeconds: 5
        failureThreshold: 6
      lifecycle:
        # Time for the endpoint's removal to reach every client, before the server hears of the end; it drains by itself on SIGTERM.
        preStop:
          exec: {command: [sleep, "3"]}
      resources:
        requests:
          {{- toYaml .Values.resources.requests | nindent 10 }}
          {{- if .Values.gpu.enabled }}
          {{ .Values.gpu.resource }}: 1
          {{- end }}
        limits:
          {{- toYaml .Values.resources.limits | nindent 10 }}
          {{- if .Values.gpu.enabled }}
          {{ .Values.gpu.resource }}: 1
          {{- end }}
      volumeMounts:
        - {name: config, mountPath: /etc/precis/server, readOnly: true}
        - {name: experiments, mountPath: /etc/precis/experiments, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if .Values.experimentsState.enabled }}
        - {name: state, mountPath: /var/lib/precis}
        {{- end }}
        {{- if .Values.modelVolume }}
        - {name: models, mountPath: /models/mounted, readOnly: true}
        {{- end }}
        {{- if .Values.tls.secretName }}
        - {name: tls, mountPath: /etc/precis/tls, readOnly: true}
        {{- end }}
        {{- if .Values.auth.secretName }}
        - {name: auth, mountPath: /etc/precis/auth, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "precis.name" . }}-config}
    - name: experiments
      configMap: {name: {{ include "precis.name" . }}-experiments}
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    {{- with .Values.modelVolume }}
    - name: models
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with .Values.auth.secretName }}
    - name: auth
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
  topologySpreadConstraints:
    - maxSkew: {{ .Values.topologySpread.maxSkew }}
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: {{ .Values.topologySpread.zones }}
      labelSelector:
        matchLabels:
          {{- include "precis.selector" . | nindent 10 }}
    - maxSkew: {{ .Values.topologySpread.maxSkew }}
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: {{ .Values.topologySpread.hosts }}
      labelSelector:
        matchLabels:
          {{- include "precis.selector" . | nindent 10 }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
