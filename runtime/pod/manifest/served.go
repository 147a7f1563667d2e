package manifest

// field says that a field is served, and how. Its path is that of the JSON
// form below the document, "spec.containers[].env[].name"; a map is one field.
type field struct {
	path string
	// note is what the table in docs/pods.md says of it.
	note string
	// only lists the values served, as JSON; empty means any that validates.
	only []string
}

// servedPod is every field of a Pod that means something to this runtime.
// Whatever is set and not here is refused.
var servedPod = concat(
	meta,
	[]field{
		{path: "spec.restartPolicy", note: "back-off as kubelet's: 10 s, doubled up to 5 min, forgotten after 10 min of running"},
		{path: "spec.terminationGracePeriodSeconds", note: "default 30"},
		{path: "spec.hostname", note: "default: the pod's name up to its first dot"},
		{path: "spec.hostAliases[].ip"},
		{path: "spec.hostAliases[].hostnames"},
		{path: "spec.dnsPolicy", note: "Default takes the host's resolv.conf, None takes dnsConfig alone; unset, ClusterFirst and ClusterFirstWithHostNet take the CNI result's DNS and else the host's, since there is no cluster"},
		{path: "spec.dnsConfig.nameservers"},
		{path: "spec.dnsConfig.searches"},
		{path: "spec.dnsConfig.options[].name"},
		{path: "spec.dnsConfig.options[].value"},
		{path: "spec.automountServiceAccountToken", only: []string{"false"}, note: "there are no service accounts"},
		{path: "spec.enableServiceLinks", only: []string{"false"}, note: "there are no services"},
		{path: "spec.hostUsers", only: []string{"true"}},
		{path: "spec.securityContext.runAsUser"},
		{path: "spec.securityContext.runAsGroup"},
		{path: "spec.securityContext.runAsNonRoot"},
		{path: "spec.securityContext.supplementalGroups"},
		{path: "spec.securityContext.seccompProfile.type", only: []string{`"RuntimeDefault"`, `"Unconfined"`}, note: "default RuntimeDefault"},
		{path: "spec.volumes[].name"},
		{path: "spec.volumes[].emptyDir.medium", only: []string{`""`, `"Memory"`}},
		{path: "spec.volumes[].emptyDir.sizeLimit", note: "with medium Memory only"},
		{path: "spec.volumes[].hostPath.path"},
		{path: "spec.volumes[].hostPath.type", note: "all eight types"},
		{path: "spec.volumes[].persistentVolumeClaim.claimName"},
		{path: "spec.volumes[].persistentVolumeClaim.readOnly"},
	},
	container("spec.initContainers[]"),
	container("spec.containers[]"),
	probe("spec.containers[].livenessProbe"),
	probe("spec.containers[].readinessProbe"),
	probe("spec.containers[].startupProbe"),
)

// servedClaim is every field of a PersistentVolumeClaim that is served.
var servedClaim = concat(meta, []field{
	{path: "spec.accessModes", note: "default ReadWriteOnce"},
	{path: "spec.resources.requests", note: "storage"},
	{path: "spec.resources.limits", note: "storage"},
	{path: "spec.storageClassName", note: "a StorageClass of the same file; unset or empty: the driver's own defaults"},
	{path: "spec.volumeMode", note: "Filesystem or Block"},
	{path: "spec.dataSource.apiGroup"},
	{path: "spec.dataSource.kind", only: []string{`"VolumeSnapshot"`, `"PersistentVolumeClaim"`}, note: "a snapshot made by `varve volume snapshot`, or another claim to clone"},
	{path: "spec.dataSource.name"},
})

// servedClass is every field of a StorageClass that is served.
var servedClass = concat(meta, []field{
	{path: "provisioner", note: "must be the name of the CSI driver at the socket"},
	{path: "parameters", note: "given to the driver; csi.storage.k8s.io/fstype chooses the file system"},
	{path: "mountOptions"},
	{path: "allowVolumeExpansion", only: []string{"true"}},
	{path: "volumeBindingMode", note: "both modes are the same on one machine"},
	{path: "reclaimPolicy", only: []string{`"Retain"`, `"Delete"`}, note: "a volume stays until `varve volume rm`"},
})

var meta = []field{
	{path: "apiVersion"},
	{path: "kind"},
	{path: "metadata.name"},
	{path: "metadata.namespace", note: "default \"default\""},
	{path: "metadata.labels"},
	{path: "metadata.annotations"},
}

func container(at string) []field {
	return under(at, []field{
		{path: "name"},
		{path: "image"},
		{path: "imagePullPolicy", note: "default IfNotPresent, whatever the tag"},
		{path: "command"},
		{path: "args"},
		{path: "workingDir"},
		{path: "env[].name"},
		{path: "env[].value", note: "$(NAME) is expanded, as in command and args"},
		{path: "ports[].name"},
		{path: "ports[].containerPort"},
		{path: "ports[].hostPort"},
		{path: "ports[].hostIP"},
		{path: "ports[].protocol"},
		{path: "resources.limits", note: "cpu and memory"},
		{path: "resources.requests", note: "cpu and memory"},
		{path: "volumeMounts[].name"},
		{path: "volumeMounts[].mountPath"},
		{path: "volumeMounts[].readOnly"},
		{path: "volumeDevices[].name"},
		{path: "volumeDevices[].devicePath"},
		{path: "securityContext.runAsUser"},
		{path: "securityContext.runAsGroup"},
		{path: "securityContext.runAsNonRoot"},
		{path: "securityContext.readOnlyRootFilesystem"},
		{path: "securityContext.privileged", note: "every capability varve itself has, every device"},
		{path: "securityContext.allowPrivilegeEscalation"},
		{path: "securityContext.capabilities.add"},
		{path: "securityContext.capabilities.drop"},
		{path: "securityContext.seccompProfile.type", only: []string{`"RuntimeDefault"`, `"Unconfined"`}, note: "default RuntimeDefault"},
	})
}

func probe(at string) []field {
	return under(at, []field{
		{path: "exec.command"},
		{path: "httpGet.path"},
		{path: "httpGet.port"},
		{path: "httpGet.host"},
		{path: "httpGet.scheme"},
		{path: "httpGet.httpHeaders[].name"},
		{path: "httpGet.httpHeaders[].value"},
		{path: "tcpSocket.port"},
		{path: "tcpSocket.host"},
		{path: "initialDelaySeconds"},
		{path: "timeoutSeconds", note: "default 1"},
		{path: "periodSeconds", note: "default 10"},
		{path: "successThreshold", note: "default 1"},
		{path: "failureThreshold", note: "default 3"},
	})
}

func under(at string, fields []field) []field {
	out := make([]field, len(fields))
	for i, f := range fields {
		f.path = at + "." + f.path
		out[i] = f
	}
	return out
}

func concat(lists ...[]field) []field {
	var all []field
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
