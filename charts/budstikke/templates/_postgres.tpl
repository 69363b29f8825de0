{{/* The pods of an embedded instance, the primary's and the standby's. Each takes (dict "root" . "component" "postgres" "role" "primary"),
     where component is postgres or keyring, and role primary or standby. */}}

{{/* The component of the pods that are the primary now. */}}
{{- define "budstikke.primary" -}}
{{- $standby := (index .root.Values .component).embedded.standby -}}
{{ if and $standby.enabled $standby.promoted }}{{ .component }}-standby{{ else }}{{ .component }}{{ end }}
{{- end }}

{{/* How many hours a base backup may take. */}}
{{- define "budstikke.backupHours" -}}
{{ ternary 5 1 (eq . "postgres") }}
{{- end }}

{{- define "budstikke.postgresPod" -}}
{{- $values := .root.Values }}
{{- $embedded := (index $values .component).embedded }}
{{- $own := ternary .component (printf "%s-standby" .component) (eq .role "primary") }}
{{- $isPrimary := eq $own (include "budstikke.primary" .) }}
{{- $backups := and $values.backups.enabled $isPrimary }}
{{- $repository := $values.backups.repository }}
{{- $context := dict "root" .root "component" $own }}
{{- $name := printf "%s-%s" (include "budstikke.name" .root) .component }}
metadata:
  labels: {{- include "budstikke.selector" $context | nindent 4 }}
  annotations:
    checksum/start: {{ (.root.Files.Glob "files/*.sh").AsConfig | sha256sum }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 60
  {{- with $values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "budstikke.podSecurity" .root | nindent 4 }}
    runAsUser: 999
    runAsGroup: 999
    fsGroup: 999
    fsGroupChangePolicy: OnRootMismatch
  {{- if $embedded.standby.enabled }}
  # Not beside each other, where there are two nodes.
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels: {app.kubernetes.io/name: budstikke, app.kubernetes.io/instance: {{ .root.Release.Name }}}
              matchExpressions: [{key: app.kubernetes.io/component, operator: In, values: [{{ .component }}, {{ .component }}-standby]}]
  {{- end }}
  containers:
    - name: postgres
      image: {{ $embedded.image.repository }}:{{ $embedded.image.tag }}
      imagePullPolicy: {{ $embedded.image.pullPolicy }}
      command: [/bin/bash, {{ ternary "/start/postgres.sh" "/start/standby.sh" (eq .role "primary") }}]
      args:
        {{- if and $embedded.standby.enabled (eq .component "postgres") }}
        # For a standby that was away for a while. The keyring keeps nothing for one: its standby takes a new copy.
        - -c
        - wal_keep_size=1GB
        {{- end }}
        {{- range $setting, $value := $embedded.settings }}
        - -c
        - {{ printf "%s=%v" $setting $value | quote }}
        {{- end }}
      env:
        {{- include "budstikke.postgresEnv" (dict "root" .root "component" .component "backups" $backups) | nindent 8 }}
        {{- if eq .role "primary" }}
        - {name: STANDBY, value: {{ $embedded.standby.enabled | quote }}}
        {{- with $embedded.restore.id }}
        - {name: RESTORE_ID, value: {{ . | quote }}}
        - {name: RESTORE_TARGET, value: {{ $embedded.restore.target | quote }}}
        {{- end }}
        {{- else }}
        - {name: PRIMARY, value: {{ $name }}.{{ .root.Release.Namespace }}.svc}
        - {name: PROMOTED, value: {{ $embedded.standby.promoted | quote }}}
        {{- end }}
      ports: [{name: postgres, containerPort: 5432}]
      securityContext: {{- include "budstikke.containerSecurity" .root | nindent 8 }}
      resources: {{- toYaml $embedded.resources | nindent 8 }}
      lifecycle:
        # Fast shutdown: end sessions, then write the checkpoint.
        preStop: {exec: {command: [/bin/bash, -c, "kill -INT 1"]}}
      startupProbe:
        # A restore or a first copy takes its time; it is not ready meanwhile.
        exec: {command: [/bin/bash, -c, "PATH=$PATH:/usr/lib/postgresql/15/bin; [ -e /run/budstikke/restoring ] || exec pg_isready -q -h 127.0.0.1"]}
        periodSeconds: 2
        failureThreshold: {{ ternary 60 43200 (eq .role "primary") }}
        timeoutSeconds: 3
      readinessProbe:
        exec: {command: [/bin/bash, -c, "PATH=$PATH:/usr/lib/postgresql/15/bin exec pg_isready -q -h 127.0.0.1"]}
        periodSeconds: 5
        timeoutSeconds: 3
      volumeMounts:
        - {name: data, mountPath: /var/lib/postgresql/data}
        {{- include "budstikke.postgresMounts" (dict "root" .root "backups" $backups) | nindent 8 }}
        - {name: tls, mountPath: /tls, readOnly: true}
        - {name: shm, mountPath: /dev/shm}
    {{- if $backups }}
    - name: backup
      image: {{ $embedded.image.repository }}:{{ $embedded.image.tag }}
      imagePullPolicy: {{ $embedded.image.pullPolicy }}
      command: [/bin/bash, /start/backup.sh]
      env:
        {{- include "budstikke.postgresEnv" (dict "root" .root "component" .component "backups" $backups) | nindent 8 }}
        {{- $own := index $values.backups .component }}
        - {name: EVERY, value: {{ mul $own.everyHours 3600 | quote }}}
        - {name: KEEP, value: {{ ternary (mul ($own.keepDays | default 0) 86400) (mul ($own.keepHours | default 0) 3600) (eq .component "postgres") | quote }}}
        - {name: MOST, value: {{ mul 3600 (include "budstikke.backupHours" .component | int) | quote }}}
        - {name: TICK, value: {{ $values.backups.tickSeconds | quote }}}
      securityContext: {{- include "budstikke.containerSecurity" .root | nindent 8 }}
      resources: {{- toYaml $values.backups.resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/postgresql/data, readOnly: true}
        {{- include "budstikke.postgresMounts" (dict "root" .root "backups" $backups) | nindent 8 }}
    {{- end }}
  volumes:
    - name: start
      configMap: {name: {{ $name }}-start}
    - name: secrets
      secret:
        secretName: {{ include (printf "budstikke.%sSecret" .component) .root }}
        defaultMode: 0440
        items:
          {{- range list "postgres-password" "owner-password" "standby-password" "backup-passphrase" }}
          - {key: {{ . }}, path: {{ . }}}
          {{- end }}
    - name: tls
      secret:
        secretName: {{ include (printf "budstikke.%sSecret" .component) .root }}
        defaultMode: 0440
        items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}, {key: ca.crt, path: ca.crt}]
    {{- if $backups }}
    {{- if eq $repository.type "s3" }}
    - name: s3
      secret: {secretName: {{ $repository.s3.secret }}, defaultMode: 0440}
    {{- else }}
    - name: backups
      persistentVolumeClaim: {claimName: {{ $name }}-backups}
    {{- end }}
    {{- end }}
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: 256Mi}}
    # Configuration that holds secrets, and sockets: in memory alone.
    - {name: run, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
{{- end }}

{{/* What both containers are told: (dict "root" . "component" "postgres" "backups" true) */}}
{{- define "budstikke.postgresEnv" -}}
- {name: INSTANCE, value: {{ ternary "data" "keyring" (eq .component "postgres") }}}
- {name: SOCKETS, value: /run/budstikke/sockets}
{{- if .backups }}
{{- $repository := .root.Values.backups.repository }}
- {name: REPOSITORY, value: {{ $repository.type }}}
{{- if eq $repository.type "s3" }}
- {name: REPOSITORY_PATH, value: {{ printf "%s/%s" $repository.s3.path .component | quote }}}
- {name: S3_ENDPOINT, value: {{ $repository.s3.endpoint | quote }}}
- {name: S3_BUCKET, value: {{ $repository.s3.bucket | quote }}}
- {name: S3_REGION, value: {{ $repository.s3.region | quote }}}
- {name: S3_URI_STYLE, value: {{ $repository.s3.uriStyle }}}
{{- else }}
- {name: REPOSITORY_PATH, value: /backups/repository}
{{- end }}
{{- end }}
{{- end }}

{{- define "budstikke.postgresMounts" -}}
- {name: start, mountPath: /start, readOnly: true}
- {name: secrets, mountPath: /secrets, readOnly: true}
- {name: run, mountPath: /run/budstikke}
- {name: tmp, mountPath: /tmp}
{{- if .backups }}
{{- if eq .root.Values.backups.repository.type "s3" }}
- {name: s3, mountPath: /s3, readOnly: true}
{{- else }}
- {name: backups, mountPath: /backups}
{{- end }}
{{- end }}
{{- end }}
