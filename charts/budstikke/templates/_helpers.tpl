{{/* The name that every object of the release starts with. */}}
{{- define "budstikke.name" -}}
{{- if contains "budstikke" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-budstikke" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels of one component: (dict "root" . "component" "api") */}}
{{- define "budstikke.labels" -}}
{{ include "budstikke.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* What selects one component's pods; never changes. */}}
{{- define "budstikke.selector" -}}
app.kubernetes.io/name: budstikke
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The image of a role: (dict "root" . "override" .Values.api.image) */}}
{{- define "budstikke.image" -}}
{{- $repository := .override.repository | default .root.Values.image.repository -}}
{{- $tag := .override.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{ $repository }}:{{ $tag }}
{{- end }}

{{- define "budstikke.namespaces" -}}
{{ .Values.watchNamespaces | default (list .Release.Namespace) | join "," }}
{{- end }}

{{/* The Secrets with the addresses of the two instances. */}}
{{- define "budstikke.postgresSecret" -}}
{{ .Values.postgres.existingSecret | default (printf "%s-database" (include "budstikke.name" .)) }}
{{- end }}
{{- define "budstikke.keyringSecret" -}}
{{ .Values.keyring.existingSecret | default (printf "%s-keyring" (include "budstikke.name" .)) }}
{{- end }}
{{- define "budstikke.apiTlsSecret" -}}
{{ .Values.api.tlsSecret | default (printf "%s-api-tls" (include "budstikke.name" .)) }}
{{- end }}

{{/* Every Secret that bootstrap reads, as a list; what is absent and not named by a value it makes. */}}
{{- define "budstikke.bootstrapSecrets" -}}
{{- $name := include "budstikke.name" . -}}
{{- list (printf "%s-ca" $name) (printf "%s-kek" $name) (printf "%s-owner-key" $name) (printf "%s-api-tls" $name)
  (include "budstikke.postgresSecret" .) (include "budstikke.keyringSecret" .)
  .Values.postgres.existingCaSecret .Values.keyring.existingCaSecret | compact | uniq | toJson }}
{{- end }}

{{/* Those of the embedded instances, which bootstrap completes where an earlier version made them. */}}
{{- define "budstikke.embeddedSecrets" -}}
{{- $secrets := list -}}
{{- if not .Values.postgres.existingSecret }}{{ $secrets = append $secrets (include "budstikke.postgresSecret" .) }}{{ end -}}
{{- if not .Values.keyring.existingSecret }}{{ $secrets = append $secrets (include "budstikke.keyringSecret" .) }}{{ end -}}
{{- $secrets | toJson }}
{{- end }}

{{/* Restricted, as every pod of this chart is. */}}
{{- define "budstikke.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "budstikke.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The three probes of a role, on its health port. */}}
{{- define "budstikke.probes" -}}
startupProbe: {httpGet: {path: /livez, port: health}, periodSeconds: 1, failureThreshold: 60}
livenessProbe: {httpGet: {path: /livez, port: health}, periodSeconds: 10, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: health}, periodSeconds: 2, failureThreshold: 3}
{{- end }}

{{/* Where the API finds the key-encryption keys; the kubelet brings new ones. */}}
{{- define "budstikke.kekEnv" -}}
- {name: BUDSTIKKE_KEK_DIRS, value: /etc/budstikke/kek}
{{- end }}

{{/* Where tenants' webhooks may be: the API says so when one is set up, the worker when it goes there. */}}
{{- define "budstikke.webhookEnv" -}}
- {name: BUDSTIKKE_WEBHOOK_PORTS, value: {{ .Values.worker.webhooks.ports | join "," | quote }}}
- {name: BUDSTIKKE_WEBHOOKS_ALLOW_PRIVATE, value: {{ .Values.worker.webhooks.allowPrivate | quote }}}
{{- end }}

{{/* The transit engine that wraps keys, for the three that hold them: how they reach it, and what they log in with. */}}
{{- define "budstikke.transitEnv" -}}
{{- with .Values.keyring.kek.transit }}
{{- if .address }}
- {name: BUDSTIKKE_TRANSIT_ADDRESS, value: {{ .address | quote }}}
- {name: BUDSTIKKE_TRANSIT_WRAPS, value: {{ .wraps | quote }}}
- {name: BUDSTIKKE_TRANSIT_MOUNT, value: {{ .mount | quote }}}
- {name: BUDSTIKKE_TRANSIT_KEY, value: {{ .key | quote }}}
{{- if .namespace }}
- {name: BUDSTIKKE_TRANSIT_NAMESPACE, value: {{ .namespace | quote }}}
{{- end }}
{{- if .caSecret }}
- {name: BUDSTIKKE_TRANSIT_CA_FILE, value: /etc/budstikke-transit/ca.crt}
{{- end }}
{{- if .tokenSecret }}
- {name: BUDSTIKKE_TRANSIT_TOKEN_FILE, value: /etc/budstikke-transit/token}
{{- else }}
- {name: BUDSTIKKE_TRANSIT_ROLE, value: {{ .auth.role | quote }}}
- {name: BUDSTIKKE_TRANSIT_AUTH_MOUNT, value: {{ .auth.mount | quote }}}
- {name: BUDSTIKKE_TRANSIT_JWT_FILE, value: /etc/budstikke-transit/jwt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "budstikke.transitMount" -}}
{{- if .Values.keyring.kek.transit.address }}
- {name: transit, mountPath: /etc/budstikke-transit, readOnly: true}
{{- end }}
{{- end }}
{{- define "budstikke.transitVolume" -}}
{{- with .Values.keyring.kek.transit }}
{{- if .address }}
- name: transit
  projected:
    sources:
      {{- if .caSecret }}
      - secret: {name: {{ .caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
      {{- end }}
      {{- if .tokenSecret }}
      - secret: {name: {{ .tokenSecret }}, items: [{key: token, path: token}]}
      {{- else }}
      # Good for the engine's login alone: the Kubernetes API takes no token for another audience.
      - serviceAccountToken: {path: jwt, audience: {{ .auth.audience | quote }}, expirationSeconds: 3600}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What bootstrap, migrate and the operator are told. Bootstrap hands the two others what they need in files: a
     Secret that it has just made could not be a volume of its own pod. */}}
{{- define "budstikke.operatorEnv" -}}
- {name: BUDSTIKKE_LOG, value: {{ .Values.operator.log | quote }}}
- name: BUDSTIKKE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: BUDSTIKKE_POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: BUDSTIKKE_NAMESPACES, value: {{ include "budstikke.namespaces" . | quote }}}
- {name: BUDSTIKKE_RELEASE, value: {{ include "budstikke.name" . }}}
- {name: BUDSTIKKE_LEASE, value: {{ include "budstikke.name" . }}-operator}
- {name: BUDSTIKKE_OUT, value: /etc/budstikke}
- {name: BUDSTIKKE_KEK_GENERATION, value: {{ .Values.keyring.kek.generation | quote }}}
- {name: BUDSTIKKE_DATABASE_SECRET, value: {{ include "budstikke.postgresSecret" . }}}
- {name: BUDSTIKKE_KEYRING_SECRET, value: {{ include "budstikke.keyringSecret" . }}}
- {name: BUDSTIKKE_EMBEDDED_DATABASE, value: {{ not .Values.postgres.existingSecret | quote }}}
- {name: BUDSTIKKE_EMBEDDED_KEYRING, value: {{ not .Values.keyring.existingSecret | quote }}}
- {name: BUDSTIKKE_BACKUPS, value: {{ .Values.backups.enabled | quote }}}
{{- with .Values.postgres.existingCaSecret }}
- {name: BUDSTIKKE_DATABASE_CA_SECRET, value: {{ . }}}
{{- end }}
{{- with .Values.keyring.existingCaSecret }}
- {name: BUDSTIKKE_KEYRING_CA_SECRET, value: {{ . }}}
{{- end }}
- {name: BUDSTIKKE_IMAGE, value: {{ include "budstikke.image" (dict "root" . "override" .Values.workloads.image) | quote }}}
- {name: BUDSTIKKE_IMAGE_PULL_POLICY, value: {{ .Values.image.pullPolicy }}}
- {name: BUDSTIKKE_WORKLOAD_LOG, value: {{ .Values.workloads.log | quote }}}
- {name: BUDSTIKKE_NETWORK_POLICIES, value: {{ .Values.networkPolicies.enabled | quote }}}
{{- with .Values.image.pullSecrets }}
- {name: BUDSTIKKE_IMAGE_PULL_SECRETS, value: {{ range $i, $secret := . }}{{ if $i }},{{ end }}{{ $secret.name }}{{ end }}}
{{- end }}
{{- end }}
