{{- define "operator.labels" -}}
app.kubernetes.io/name: appstack-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: appstack-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The reference of an image, or the sentence that says what to set. */ -}}
{{- define "operator.image" -}}
{{- $hint := printf "images.%s is empty: set it to the full reference of the %s image, as `lab build images` prints it (--set images.%s=REFERENCE)" .name .name .name -}}
{{- required $hint (get .root.Values.images .name) -}}
{{- end }}

{{- /* Only where it minds all namespaces: what lets it move a pod off a node that it shares with others of its kind. */ -}}
{{- define "operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}

{{- /* What the operator may do. It holds every right that it grants to Patroni and to the Sentinels' agents. */ -}}
{{- define "operator.rules" -}}
- apiGroups: [appstack.dev]
  resources: [appstacks]
  verbs: [get, list, watch, patch]
- apiGroups: [appstack.dev]
  resources: [appstacks/status]
  verbs: [patch]
- apiGroups: [appstack.dev]
  resources: [appstacks/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [secrets, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
{{- if .Values.marksSilentPods }}
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end }}
